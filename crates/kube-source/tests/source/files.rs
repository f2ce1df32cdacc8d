//! The files source on a real disk.
use crate::follower::Follower;
use crate::watch::examples;
use sheave_core::Object;
use sheave_kube_source::Source;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn service(name: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{clusterIP: {address}, ports: [{{port: 80}}]}}\n"
    )
}

async fn follow(path: &Path) -> Follower {
    let mut follower = Follower::of(Source::Files(path.to_owned()));
    follower.until("complete", Follower::is_complete).await;
    follower
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[tokio::test]
async fn files_are_read_again_however_they_are_changed() {
    let directory =
        directory(&[("a.yaml", &service("a", "10.96.0.1")), ("notes.txt", "kind: Service"), (".hidden.yaml", "x")]);
    let path = directory.path();
    let mut follower = follow(path).await;
    assert_eq!(follower.names(), ["Service shop/a"]);
    fs::write(
        path.join("b.json"),
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}}"#,
    )
    .unwrap();
    follower.until("a new file", |f| f.holds("Service shop/b")).await;
    fs::write(path.join("a.yaml"), service("a", "10.96.0.2")).unwrap();
    follower.until("written in place", |f| format!("{:?}", f.objects).contains("10.96.0.2")).await;
    fs::write(path.join(".a.new"), service("a", "10.96.0.3")).unwrap();
    fs::rename(path.join(".a.new"), path.join("a.yaml")).unwrap();
    follower.until("replaced", |f| format!("{:?}", f.objects).contains("10.96.0.3")).await;
    fs::remove_file(path.join("a.yaml")).unwrap();
    follower.until("removed", |f| !f.holds("Service shop/a")).await;
    assert_eq!(follower.names(), ["Service shop/b"]);
}

#[tokio::test]
async fn a_single_file_may_be_replaced_by_another() {
    let directory = directory(&[("shop.yaml", &service("a", "10.96.0.1"))]);
    let path = directory.path().join("shop.yaml");
    let mut follower = follow(&path).await;
    fs::write(directory.path().join("new"), service("b", "10.96.0.2")).unwrap();
    fs::rename(directory.path().join("new"), &path).unwrap();
    follower.until("replaced", |f| f.names() == ["Service shop/b"]).await;
}

/// A kubelet updates a ConfigMap volume by renaming the link `..data`; the files are links through it.
#[tokio::test]
async fn a_config_map_volume_is_followed_through_its_links() {
    let volume = tempfile::tempdir().unwrap();
    let path = volume.path();
    let version = |name: &str, text: &str| {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("shop.yaml"), text).unwrap();
        symlink(name, path.join("..data_tmp")).unwrap();
        fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    };
    version("..1", &service("a", "10.96.0.1"));
    symlink("..data/shop.yaml", path.join("shop.yaml")).unwrap();
    let mut follower = follow(path).await;
    assert_eq!(follower.names(), ["Service shop/a"]);
    version("..2", &service("b", "10.96.0.2"));
    fs::remove_dir_all(path.join("..1")).unwrap();
    follower.until("followed", |f| f.names() == ["Service shop/b"]).await;
}

#[tokio::test]
async fn a_file_that_no_longer_reads_keeps_its_last_good_content() {
    let good = service("a", "10.96.0.1");
    let directory = directory(&[("a.yaml", &good), ("b.yaml", &service("b", "10.96.0.2"))]);
    let (path, file) = (directory.path(), directory.path().join("a.yaml"));
    let mut follower = follow(path).await;
    let held = follower.objects.clone();
    for (bad, line, part) in [
        ("spec: [1,\n".to_owned(), "", "its last good content stays in force"),
        (format!("{}---\nkind: Service\n", service("c", "10.96.0.3")), ":5", "apiVersion or kind is missing"),
        ("\u{0}\u{1}".to_owned(), "", "its last good content stays in force"),
    ] {
        fs::write(&file, &bad).unwrap();
        follower.until(&format!("said of {bad:?}"), |f| f.diagnostics().iter().any(|said| said.contains(part))).await;
        assert_eq!(follower.objects, held, "{bad:?}");
        let said = follower.diagnostics();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("{}{line}", file.display())), "{said:?}");
        assert!(said[0].contains(&format!("File {}", file.display())), "{said:?}");
        fs::write(&file, &good).unwrap();
        follower.until("taken back", |f| f.said.is_empty()).await;
        assert_eq!(follower.objects, held);
    }
    fs::write(path.join("b.yaml"), service("b", "10.96.0.9")).unwrap();
    follower.until("others go on", |f| format!("{:?}", f.objects).contains("10.96.0.9")).await;
}

/// `kubectl get … > all.yaml` empties the file before it asks; when it then fails, the file stays empty.
#[tokio::test]
async fn i4_a_file_that_was_emptied_keeps_its_last_good_content_until_it_is_deleted() {
    let directory = directory(&[("a.yaml", &service("a", "10.96.0.1")), ("b.yaml", &service("b", "10.96.0.2"))]);
    let file = directory.path().join("a.yaml");
    let mut follower = follow(directory.path()).await;
    let held = follower.objects.clone();
    let want = format!(
        "{0}: File {0}: empty, so its last good content stays in force; delete the file to withdraw it",
        file.display()
    );
    for empty in ["", "\n", "# all of it\n---\n", "spec: [1,\n", ""] {
        fs::write(&file, empty).unwrap();
        if !empty.starts_with("spec") {
            follower.until(&format!("said of {empty:?}"), |f| f.diagnostics() == [want.as_str()]).await;
        }
        assert_eq!(follower.objects, held, "{empty:?}");
    }
    // Documents that hold nothing for us are no accident.
    fs::write(&file, "apiVersion: v1\nkind: ServiceList\nitems: []\n").unwrap();
    follower.until("withdrawn", |f| f.names() == ["Service shop/b"] && f.said.is_empty()).await;
    fs::write(&file, service("a", "10.96.0.1")).unwrap();
    follower.until("back", |f| f.objects == held).await;
    fs::write(&file, "").unwrap();
    follower.until("said again", |f| f.said.len() == 1).await;
    fs::remove_file(&file).unwrap();
    follower.until("deleted", |f| f.names() == ["Service shop/b"] && f.said.is_empty()).await;
}

#[tokio::test]
async fn what_is_no_regular_file_is_named_and_never_waited_for() {
    let directory = directory(&[("a.yaml", &service("a", "10.96.0.1")), ("b.yaml", &service("b", "10.96.0.2"))]);
    let file = directory.path().join("a.yaml");
    let mut follower = follow(directory.path()).await;
    fs::remove_file(&file).unwrap();
    follower.until("gone", |f| f.names() == ["Service shop/b"]).await;
    let made = Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    let want = format!("{0}: File {0}: not a regular file; nothing of it is served", file.display());
    follower.until("said", |f| f.diagnostics() == [want.as_str()]).await;
    fs::remove_file(&file).unwrap();
    fs::write(&file, service("a", "10.96.0.1")).unwrap();
    follower.until("a file again", |f| f.holds("Service shop/a") && f.said.is_empty()).await;
}

#[tokio::test]
async fn a_file_that_never_read_serves_what_can_be_read_of_it() {
    let text = format!("{}---\nspec: [1,\n", service("a", "10.96.0.1"));
    let directory = directory(&[("a.yaml", &text), ("b.yaml", "\u{fffd}: [")]);
    let mut follower = follow(directory.path()).await;
    follower.until("said", |f| f.said.len() == 2).await;
    assert_eq!(follower.names(), ["Service shop/a"]);
    assert!(follower.diagnostics()[0].contains("the rest of the file is served"), "{:?}", follower.diagnostics());
}

#[tokio::test]
async fn an_object_in_two_files_is_served_from_the_first_and_named() {
    let directory = directory(&[("a.yaml", &service("x", "10.96.0.1")), ("b.yaml", &service("x", "10.96.0.2"))]);
    let path = directory.path();
    let mut follower = follow(path).await;
    follower.until("said", |f| !f.said.is_empty()).await;
    assert!(format!("{:?}", follower.objects).contains("10.96.0.1"));
    let (first, second) = (path.join("a.yaml"), path.join("b.yaml"));
    let want = format!(
        "{}:1: Service shop/x: defined a second time; the one at {}:1 is served",
        second.display(),
        first.display()
    );
    assert_eq!(follower.diagnostics(), [want]);
    fs::remove_file(first).unwrap();
    follower.until("the second takes over", |f| f.said.is_empty()).await;
    assert!(format!("{:?}", follower.objects).contains("10.96.0.2"));
}

/// X1, I8: the core says which Services claim one frontend, and names the file of each.
#[tokio::test]
async fn a_service_knows_its_file_and_line() {
    let text = format!("{}---\n{}", service("a", "10.96.0.1"), service("b", "10.96.0.1"));
    let directory = directory(&[("shop.yaml", &text)]);
    let follower = follow(directory.path()).await;
    let file = directory.path().join("shop.yaml");
    let origin = |object: &Object| match object {
        Object::Service(service) => service.origin.as_deref().map(ToOwned::to_owned),
        other => panic!("a Service, not {other:?}"),
    };
    let origins: Vec<_> = follower.objects.values().map(origin).collect();
    assert_eq!(origins, [1, 5].map(|line| Some(format!("{}:{line}", file.display()))));
}

#[tokio::test]
async fn i4_a_path_that_is_gone_changes_nothing_and_one_that_never_was_lists_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("manifests");
    let mut follower = Follower::of(Source::Files(path.clone()));
    follower.until("said", |f| f.said.len() == 1).await;
    assert!(!follower.is_complete(), "an unreadable path is no empty list");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), service("a", "10.96.0.1")).unwrap();
    follower.until("read", |f| f.holds("Service shop/a") && f.said.is_empty()).await;
    fs::rename(&path, parent.path().join("elsewhere")).unwrap();
    follower.until("said", |f| f.said.len() == 1).await;
    assert!(follower.holds("Service shop/a"));
    assert!(follower.diagnostics()[0].contains("stays in force"), "{:?}", follower.diagnostics());
}

#[tokio::test]
async fn the_examples_read_without_a_word() {
    let follower = follow(examples()).await;
    assert_eq!(follower.objects.len(), 12);
    assert_eq!(follower.diagnostics(), [""; 0]);
}

/// The runtime of an agent that ends takes no more work: a source that has just begun to look ends as well, and says nothing.
#[test]
fn a_runtime_that_ends_ends_the_source() {
    let directory = directory(&[("shop.yaml", &service("a", "10.96.0.1"))]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let (sender, mut events) = tokio::sync::mpsc::channel(1);
    handle.block_on(sheave_kube_source::run(Source::Files(directory.path().to_owned()), "node-a", sender));
    assert!(events.blocking_recv().is_none(), "nothing was read, so nothing is reported");
}
