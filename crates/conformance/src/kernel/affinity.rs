//! Where clients' next flows go (E10), as the programs have noted it.
use super::KernelError;
use sheave_abi::{AffinityKeyV4, AffinityKeyV6, AffinityValue, SERVICES_CHUNK, ServiceValue};
use sheave_bpf::chunks::Chunks;
use sheave_bpf::map::Map;
use sheave_bpf::pins::Pins;
use sheave_core::Affinity;
use std::io;
use std::net::IpAddr;
use std::path::Path;

const SERVICES: &str = "services";
const AFFINITY: [&str; 2] = ["affinity_v4", "affinity_v6"];

/// The maps of affinity, and that of the Services, which have its time-out.
pub(super) struct Notes {
    v4: Map<AffinityKeyV4, AffinityValue>,
    v6: Map<AffinityKeyV6, AffinityValue>,
    services: Chunks<ServiceValue>,
}

impl Notes {
    pub(super) fn open(bpffs: &Path) -> Result<Self, KernelError> {
        let maps = Pins::new(bpffs).maps();
        let services = Chunks::open(&maps.join(SERVICES), SERVICES_CHUNK);
        Ok(Self {
            v4: Map::open(&maps.join(AFFINITY[0])).map_err(failed(AFFINITY[0]))?,
            v6: Map::open(&maps.join(AFFINITY[1])).map_err(failed(AFFINITY[1]))?,
            services: services.map_err(failed(SERVICES))?,
        })
    }

    /// Forgets every client.
    pub(super) fn clear(&self) -> Result<(), KernelError> {
        for (key, _) in self.v4.entries().map_err(failed(AFFINITY[0]))? {
            self.v4.delete(&key).map_err(failed(AFFINITY[0]))?;
        }
        for (key, _) in self.v6.entries().map_err(failed(AFFINITY[1]))? {
            self.v6.delete(&key).map_err(failed(AFFINITY[1]))?;
        }
        Ok(())
    }

    /// What is noted of the first of these clients of whom anything is, after a flow to one Service port: its affinity.
    pub(super) fn of(&mut self, clients: &[IpAddr]) -> Result<Option<Affinity>, KernelError> {
        let v4 = self.v4.entries().map_err(failed(AFFINITY[0]))?;
        let v4 = v4.into_iter().map(|(key, _)| (IpAddr::from(key.client), key.service));
        let v6 = self.v6.entries().map_err(failed(AFFINITY[1]))?;
        let v6 = v6.into_iter().map(|(key, _)| (IpAddr::from(key.client), key.service));
        let noted: Vec<_> = v4.chain(v6).collect();
        let of = |client: &IpAddr| noted.iter().find(|(noted, _)| noted == client).map(|(_, service)| *service);
        let service = clients.iter().find_map(of);
        let Some(service) = service else { return Ok(None) };
        let value = self.service(service).map_err(failed(SERVICES))?;
        Ok(value.map(|value| Affinity { timeout_s: value.affinity_s }))
    }

    fn service(&mut self, id: u32) -> io::Result<Option<ServiceValue>> {
        let (chunk, place) = (id / SERVICES_CHUNK, id % SERVICES_CHUNK);
        self.services.chunk(chunk)?.map_or(Ok(None), |entries| entries.get(&place))
    }
}

fn failed(map: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::Read { map, source }
}
