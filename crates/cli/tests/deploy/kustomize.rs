//! What `kubectl kustomize` makes of a directory, as far as deploy/ asks for it: resources, patches by path, `$patch: delete`.
use json_patch::Patch;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    api_version: String,
    kind: String,
    resources: Vec<String>,
    #[serde(default)]
    patches: Vec<PatchFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchFile {
    path: String,
    target: Option<Target>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: String,
    name: String,
}

/// A directory, rendered.
#[derive(Default)]
pub(crate) struct Rendered {
    pub(crate) objects: Vec<Value>,
    /// Every file that was read.
    pub(crate) files: BTreeSet<PathBuf>,
}

impl Rendered {
    /// The one object of a kind.
    pub(crate) fn only(&self, kind: &str) -> &Value {
        let of_kind: Vec<_> = self.objects.iter().filter(|object| object["kind"] == kind).collect();
        assert_eq!(of_kind.len(), 1, "objects of kind {kind}");
        of_kind[0]
    }
}

/// The documents of a file.
pub(crate) fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn render(directory: &Path) -> Rendered {
    let path = directory.join("kustomization.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read: Kustomization =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!((&*read.api_version, &*read.kind), ("kustomize.config.k8s.io/v1beta1", "Kustomization"));
    let mut rendered = Rendered::default();
    rendered.files.insert(path);
    for resource in &read.resources {
        let path = directory.join(resource).canonicalize().unwrap_or_else(|error| panic!("{resource}: {error}"));
        if path.is_dir() {
            let below = render(&path);
            rendered.objects.extend(below.objects);
            rendered.files.extend(below.files);
        } else {
            rendered.objects.extend(documents(&path));
            rendered.files.insert(path);
        }
    }
    for patch in &read.patches {
        let path = directory.join(&patch.path);
        apply(&mut rendered.objects, &path, patch.target.as_ref());
        rendered.files.insert(path);
    }
    rendered
}

/// A list of operations (RFC 6902) with a target, or the deletion of an object. A patch that changes nothing is a mistake.
fn apply(objects: &mut Vec<Value>, path: &Path, target: Option<&Target>) {
    let documents = documents(path);
    let [patch] = &documents[..] else { panic!("{}: not one document", path.display()) };
    let Some(target) = target else {
        assert_eq!(patch["$patch"], "delete", "{}: a patch without target", path.display());
        let identity = |object: &Value| {
            ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"].map(|at| object.pointer(at).cloned())
        };
        let before = objects.len();
        objects.retain(|object| identity(object) != identity(patch));
        assert_eq!(objects.len(), before - 1, "{}: it deletes nothing", path.display());
        return;
    };
    let patch: Patch = serde_json::from_value(patch.clone()).unwrap();
    let mut met =
        objects.iter_mut().filter(|object| object["kind"] == target.kind && object["metadata"]["name"] == target.name);
    let object = met.next().unwrap_or_else(|| panic!("{}: its target does not exist", path.display()));
    let before = object.clone();
    json_patch::patch(object, &patch).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_ne!(before, *object, "{}: it changes nothing", path.display());
    assert!(met.next().is_none(), "{}: several targets", path.display());
}
