//! Folders that several users of this machine write into: what others put there first is not taken for ours.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::support::{Ground, MIB, got};
use crate::support::{masked, needs_root};

/// Somebody else.
const STRANGER: u32 = 65_534;

/// Gives something to the stranger, open to everybody.
fn hand_over(path: &Path) {
    chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
}

/// A served file, and a folder in which everybody may make files and remove their own.
fn shared() -> Ground {
    let ground = Ground::with_file(MIB);
    std::fs::create_dir(ground.path("shared")).unwrap();
    std::fs::set_permissions(ground.path("shared"), PermissionsExt::from_mode(0o1777)).unwrap();
    ground
}

#[tokio::test]
async fn a_file_is_not_received_into_what_another_user_has_made() {
    if !needs_root() {
        return;
    }
    let ground = shared();
    for path in [ground.part("shared"), ground.journal_path("shared")] {
        std::fs::write(&path, "theirs").unwrap();
        hand_over(&path);
    }
    let done = got(ground.get("shared")).await.done();
    ground.assert_got("shared", &done);
    let file = std::fs::metadata(ground.path("shared/file")).unwrap();
    assert_eq!((file.uid(), file.mode() & 0o022), (0, 0));
}

#[tokio::test]
async fn a_tree_is_not_built_in_what_another_user_has_made() {
    if !needs_root() {
        return;
    }
    let ground = shared();
    let building = ground.path("shared/..tree.tree.towline-part.towline-part");
    let url = format!("{}/", ground.server.addr());
    let get = || got(ground.get_url(&url, &["-r", "-o", "shared/tree"]));
    std::fs::create_dir(&building).unwrap();
    hand_over(&building);
    // With something in it, it is theirs to remove.
    std::fs::write(building.join("theirs"), "theirs").unwrap();
    let told = get().await;
    told.assert_failed(7);
    let path = "shared/..tree.tree.towline-part.towline-part is in the way";
    assert!(told.stderr.contains(path), "{}", told.stderr);
    std::fs::remove_file(building.join("theirs")).unwrap();
    assert_eq!(get().await.code, Some(0));
    assert_eq!(std::fs::metadata(ground.path("shared/tree")).unwrap().uid(), 0);
    assert_eq!(ground.names("shared/tree"), ["file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_group_may_write_to_is_taken_up_again_only_where_the_users_mask_says_so() {
    let ground = Ground::with_file(6 * MIB);
    for (umask, is_taken_up) in [("002", true), ("022", false)] {
        ground.leave_part(umask, 2).await;
        for path in [ground.part(umask), ground.journal_path(umask)] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o664)).unwrap();
        }
        let done = got(masked(umask, &ground.get(umask))).await.done();
        assert_eq!(done.kept_bytes >= 2 * MIB, is_taken_up, "{umask}: {done:?}");
        ground.assert_got(umask, &done);
    }
}
