//! A packet at a device. Headers that every packet has are read in place; other bytes are copied in and out by helpers, so no bound has to be
//! proven twice. Nothing is written in place: for that the kernel would copy every cloned packet before the program begins
//! (`bpf_unclone_prologue`), those that only pass included.
use super::maps::scratch_bytes;
use crate::ip::ETHERNET_LEN;
use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::{
    bpf_csum_diff, bpf_csum_update, bpf_get_socket_cookie, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect,
    bpf_skb_adjust_room, bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_change_type, bpf_skb_load_bytes,
    bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use core::hint::black_box;
use core::mem::{MaybeUninit, size_of};
use core::ptr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A helper refused: the packet may be half written and has to be dropped.
pub struct Failed;

/// Most bytes [`Packet::checksum`] can sum: an IPv6 header, a good deal of extension headers and a transport header.
pub const SUMMED_MAX: u32 = 128;

const PACKET_HOST: u32 = 0;
/// The bits of a tag that number a VLAN.
const VLAN_ID: u32 = 0xfff;

/// What a device of this node has noted on a packet for the next one, as it stands in the packet's metadata.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Note {
    Nothing = 0,
    /// It was decided at a port of a bridge.
    Decided = 0x5ea7,
    /// It was translated where it came in, and there is nothing left to do where it goes out.
    Translated = 0x5ea8,
    /// It was sent out by another device than that whose egress has translated it.
    Sent = 0x5ea9,
    /// It was translated at a port, and the bridge has not had it yet.
    TranslatedAtPort = 0x5eaa,
}

/// A header in a packet: with words that begin at even addresses.
#[repr(C, packed(2))]
struct Even<T>(T);

/// The packet a device program was called for, and where its IP header starts.
#[derive(Clone, Copy)]
pub struct Packet(*mut __sk_buff, u32);

impl Packet {
    /// A packet that begins with an Ethernet header.
    #[inline(always)]
    pub fn ethernet(context: &TcContext) -> Self {
        Self(context.skb.skb, ETHERNET_LEN)
    }

    /// A packet that begins with the IP header: of a tunnel or another device without link-layer addresses.
    #[inline(always)]
    pub fn bare(context: &TcContext) -> Self {
        Self(context.skb.skb, 0)
    }

    /// Offset of the IP header.
    #[inline(always)]
    pub fn l3(self) -> u32 {
        self.1
    }

    /// True when it begins with an Ethernet header.
    #[inline(always)]
    pub fn has_ethernet(self) -> bool {
        self.1 != 0
    }

    /// What helpers that look around take.
    #[inline(always)]
    pub(super) fn context(self) -> *mut __sk_buff {
        self.0
    }

    /// Length of the frame.
    #[inline(always)]
    pub fn len(self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.0).len).read_volatile() }
    }

    /// Bytes of data of each segment that the packet is cut into further down; 0 when it is not.
    #[inline(always)]
    pub fn gso_size(self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.0).gso_size).read_volatile() }
    }

    /// How many segments the packet is cut into further down.
    #[inline(always)]
    pub fn gso_segs(self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.0).gso_segs).read_volatile() }
    }

    /// True for a packet that is cut into segments further down.
    #[inline(always)]
    pub fn is_gso(self) -> bool {
        self.gso_size() != 0
    }

    /// EtherType in host order; the inner one when a VLAN tag stands in the metadata.
    #[inline(always)]
    pub fn ether_type(self) -> u16 {
        // SAFETY: the context outlives the program.
        u16::from_be(unsafe { (&raw const (*self.0).protocol).read_volatile() } as u16)
    }

    /// True when the frame carries the tag of a VLAN in its metadata. A tag that only has a priority (IEEE 802.1Q, VLAN 0) is none:
    /// the stack takes such a frame for this device's own.
    #[inline(always)]
    pub fn is_tagged(self) -> bool {
        // SAFETY: the context outlives the program.
        let (is_present, tag) = unsafe {
            ((&raw const (*self.0).vlan_present).read_volatile(), (&raw const (*self.0).vlan_tci).read_volatile())
        };
        is_present != 0 && tag & VLAN_ID != 0
    }

    /// True when the frame is addressed to this device, and to no other. Without link-layer addresses there is no other.
    #[inline(always)]
    pub fn is_to_host(self) -> bool {
        // SAFETY: the context outlives the program.
        !self.has_ethernet() || unsafe { (&raw const (*self.0).pkt_type).read_volatile() == PACKET_HOST }
    }

    /// Leaves a note for the next device of this node that it passes, in place of the last one. Nothing else uses the field without a
    /// qdisc of old (`tc_index`), and a note that is lost or set by others costs the packet's sender alone. The last device takes it off
    /// ([`Note::Nothing`]): the packet may reach other nodes that are namespaces of this machine.
    #[inline(always)]
    pub fn note(self, note: Note) {
        // SAFETY: the context outlives the program.
        unsafe { (&raw mut (*self.0).tc_index).write_volatile(note as u32) }
    }

    /// What was noted, here or at the device before.
    #[inline(always)]
    pub fn noted(self) -> Note {
        // SAFETY: the context outlives the program.
        let noted = unsafe { (&raw const (*self.0).tc_index).read_volatile() };
        let notes = [Note::Decided, Note::Translated, Note::Sent, Note::TranslatedAtPort];
        notes.into_iter().find(|note| *note as u32 == noted).unwrap_or(Note::Nothing)
    }

    /// The device a forwarded packet came in by; 0 for what the node itself sends.
    #[inline(always)]
    pub fn ingress_ifindex(self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.0).ingress_ifindex).read_volatile() }
    }

    /// The device it came in or goes out by.
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.0).ifindex).read_volatile() }
    }

    /// True when a socket of this node sends it.
    #[inline(always)]
    pub fn is_from_socket(self) -> bool {
        // SAFETY: the helper takes a packet's context.
        unsafe { bpf_get_socket_cookie(self.0.cast()) != 0 }
    }

    /// Reads a header in place, or copies it out where it does not stand in the first part of the packet; `None` when the packet ends
    /// before it does. `offset` is one that the verifier knows to be less than 64 KiB.
    #[inline(always)]
    pub fn read<T: FromBytes>(self, offset: u32) -> Option<T> {
        // SAFETY: the context outlives the program.
        let (data, end) =
            unsafe { ((&raw const (*self.0).data).read_volatile(), (&raw const (*self.0).data_end).read_volatile()) };
        let header = data as usize + offset as usize;
        if header + size_of::<T>() > end as usize {
            return self.load(offset);
        }
        // SAFETY: `T` may be any bytes, and ends before the packet does, by the line above. What stands behind an Ethernet header, and the
        // IP header of a packet without one, begins at an even address.
        Some(unsafe { (header as *const Even<T>).read() }.0)
    }

    /// Copies a header out; `None` when the packet ends before it does.
    #[inline(always)]
    pub fn load<T: FromBytes>(self, offset: u32) -> Option<T> {
        let mut header = MaybeUninit::<T>::uninit();
        // SAFETY: `header` has room for the bytes asked for.
        let ret =
            unsafe { bpf_skb_load_bytes(self.0.cast(), offset, header.as_mut_ptr().cast(), size_of::<T>() as u32) };
        if ret != 0 {
            return None;
        }
        // SAFETY: written in full by the helper, and any bytes are a valid `T`.
        Some(unsafe { header.assume_init() })
    }

    /// Writes a header in.
    #[inline(always)]
    pub fn store<T: IntoBytes + Immutable>(self, offset: u32, header: &T) -> Result<(), Failed> {
        // SAFETY: `header` is as long as said.
        done(unsafe {
            bpf_skb_store_bytes(self.0.cast(), offset, ptr::from_ref(header).cast(), size_of::<T>() as u32, 0)
        })
    }

    /// Brings an IPv4 header checksum up to date with a difference of [`difference`].
    #[inline(always)]
    pub fn update_header_checksum(self, offset: u32, diff: u32) -> Result<(), Failed> {
        // SAFETY: the helper checks the offset.
        done(unsafe { bpf_l3_csum_replace(self.0, offset, 0, u64::from(diff), 0) })
    }

    /// Brings a transport checksum up to date with changed addresses; a UDP checksum of zero stays zero.
    #[inline(always)]
    pub fn update_pseudo_checksum(
        self,
        offset: u32,
        diff: u32,
        is_ipv6: bool,
        zero_means_none: bool,
    ) -> Result<(), Failed> {
        let flags = u64::from(BPF_F_PSEUDO_HDR) | zero_flag(zero_means_none);
        // SAFETY: the helper checks the offset.
        done(unsafe { bpf_l4_csum_replace(self.0, offset, 0, u64::from(diff), flags) })?;
        if is_ipv6 {
            // The helper takes the difference off the sum that a device made of the whole packet (CHECKSUM_COMPLETE), as if a header
            // checksum had changed with the address (`inet_proto_csum_replace_by_diff`). Given back: without one, addresses and
            // transport checksum cancel out. BPF_F_IPV6 would do as much (kernel 6.16, commit ead7f9b8de65), but not for a datagram
            // without a checksum, which the helper leaves alone: there the difference is what the address adds. For packets without
            // such a sum this does nothing.
            self.update_device_sum(diff);
        }
        Ok(())
    }

    /// Brings a transport checksum up to date with a changed port, both as they stand on the wire.
    #[inline(always)]
    pub fn update_port_checksum(self, offset: u32, from: u16, to: u16, zero_means_none: bool) -> Result<(), Failed> {
        let flags = zero_flag(zero_means_none) | size_of::<u16>() as u64;
        // SAFETY: the helper checks the offset.
        done(unsafe { bpf_l4_csum_replace(self.0, offset, u64::from(from), u64::from(to), flags) })
    }

    /// True while the transport checksum at an offset is still to be filled in by the device or right before it
    /// (`CHECKSUM_PARTIAL`): what stands there means nothing. No field of the context says so, but a helper goes by it: asked to
    /// follow a change outside of any pseudo header it changes no such field, and every other one
    /// (`inet_proto_csum_replace4`). That is put back then.
    #[inline(always)]
    pub fn is_checksum_to_come(self, offset: u32) -> Result<bool, Failed> {
        let before: u16 = self.load(offset).ok_or(Failed)?;
        // SAFETY: the helper checks the offset.
        done(unsafe { bpf_l4_csum_replace(self.0, offset, 0, 1, size_of::<u16>() as u64) })?;
        let after: u16 = self.load(offset).ok_or(Failed)?;
        if before == after {
            return Ok(true);
        }
        self.store(offset, &before)?;
        Ok(false)
    }

    /// Lets the sum that a device made of the whole packet follow a change that no checksum within cancels. Without such a sum
    /// it does nothing.
    #[inline(always)]
    pub fn update_device_sum(self, diff: u32) {
        // SAFETY: the helper takes any number.
        unsafe { bpf_csum_update(self.0, diff) };
    }

    /// Cuts the frame to `len` bytes. A frame that stays longer is no fault: what follows the IP length is padding.
    #[inline(always)]
    pub fn trim(self, len: u32) {
        // SAFETY: the helper checks the length.
        unsafe { bpf_skb_change_tail(self.0, len, 0) };
    }

    /// Makes room for `len` bytes between the Ethernet header and the IP header.
    #[inline(always)]
    pub fn insert_after_ethernet(self, len: u32) -> Result<(), Failed> {
        // SAFETY: the helper checks the length.
        done(unsafe { bpf_skb_adjust_room(self.0, len as i32, BPF_ADJ_ROOM_MAC, 0) })
    }

    /// Adds `len` bytes from `offset` on to a sum: a multiple of four, 4 to [`SUMMED_MAX`].
    #[inline(always)]
    pub fn sum(self, offset: u32, len: u32, sum: u32) -> Result<u32, Failed> {
        let bytes = scratch_bytes().ok_or(Failed)?;
        // The bounds in a form that the verifier sees and the compiler, which knows them, does not take away.
        const { assert!(SUMMED_MAX.is_power_of_two()) };
        let len = (black_box(len).wrapping_sub(1) & (SUMMED_MAX - 1)) + 1;
        // SAFETY: `len` is at most the size of `bytes`, by the line above.
        done(unsafe { bpf_skb_load_bytes(self.0.cast(), offset, bytes.cast(), len) })?;
        // SAFETY: as above; nothing is subtracted.
        Ok(unsafe { bpf_csum_diff(ptr::null_mut(), 0, bytes, len, sum) } as u32)
    }

    /// Lets the stack take the frame, whomever it was addressed to.
    #[inline(always)]
    pub fn claim_for_host(self) -> Result<(), Failed> {
        // SAFETY: the helper checks the type.
        done(unsafe { bpf_skb_change_type(self.0, PACKET_HOST) })
    }

    /// Sends the packet out by a device; returns the program's verdict.
    #[inline(always)]
    pub fn send_by(self, ifindex: u32) -> i32 {
        self.note(Note::Nothing);
        // SAFETY: the helper only notes the device.
        unsafe { bpf_redirect(ifindex, 0) as i32 }
    }

    /// Lets the packet come in by a device; returns the program's verdict.
    #[inline(always)]
    pub fn come_in_by(self, ifindex: u32) -> i32 {
        self.note(Note::Nothing);
        // SAFETY: the helper only notes the device.
        unsafe { bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) as i32 }
    }

    /// Puts an empty Ethernet header before the IP header of a packet that has none, so that it can go on by a device where packets
    /// have one. What this value says about the packet is wrong from then on.
    #[inline(always)]
    pub fn begin_with_ethernet(self) -> Result<(), Failed> {
        // SAFETY: the helper checks the length.
        done(unsafe { bpf_skb_change_head(self.0, ETHERNET_LEN, 0) })
    }

    /// Brings the checksum of an ICMP message up to date with changed bytes of the message itself.
    #[inline(always)]
    pub fn update_message_checksum(self, offset: u32, diff: u32) -> Result<(), Failed> {
        // SAFETY: the helper checks the offset.
        done(unsafe { bpf_l4_csum_replace(self.0, offset, 0, u64::from(diff), 0) })
    }
}

/// What replacing words by others adds to a sum; without a call, since every translated packet needs it.
#[inline(always)]
pub fn difference<const N: usize>(from: [u32; N], to: [u32; N], sum: u32) -> u32 {
    let total = |words: [u32; N]| words.into_iter().map(u64::from).sum::<u64>();
    let diff = total(from.map(|word| !word)) + total(to) + u64::from(sum);
    let diff = (diff & 0xffff_ffff) + (diff >> 32);
    ((diff & 0xffff_ffff) + (diff >> 32)) as u32
}

/// What `bytes` add to a sum. The size is a multiple of four.
#[inline(always)]
pub fn summed<T: IntoBytes + Immutable>(bytes: &T, sum: u32) -> u32 {
    let len = const {
        assert!(size_of::<T>().is_multiple_of(4));
        size_of::<T>() as u32
    };
    // SAFETY: `bytes` is `len` bytes long and only read; nothing is subtracted.
    (unsafe { bpf_csum_diff(ptr::null_mut(), 0, ptr::from_ref(bytes).cast_mut().cast(), len, sum) }) as u32
}

/// A sum as a checksum field holds it.
#[inline(always)]
pub fn folded(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_ne_bytes()
}

#[inline(always)]
fn zero_flag(zero_means_none: bool) -> u64 {
    if zero_means_none { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 }
}

#[inline(always)]
fn done(ret: i64) -> Result<(), Failed> {
    if ret == 0 { Ok(()) } else { Err(Failed) }
}
