//! The power is cut while a tree comes: a real file system loses all that it has not written.

use std::path::PathBuf;
use std::process::Command;

use towline_testkit::chaos::{ChaosProxy, Direction, Plan};
use towline_testkit::random::Random;

use super::support::Grove;
use crate::native::mounted::{Mounted, PowerSwitch, ext4_image, has_own_mounts};
use crate::native::power::file_id;
use crate::native::support::{MIB, ended_before, got, got_now};
use crate::support::is_full;

const FILES: u64 = 600;
const BYTES_MAX: u64 = 20_000;

fn rounds() -> u64 {
    if is_full() { 30 } else { 6 }
}

/// What a round begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beginning {
    /// No tree: a new one is built.
    Nothing,
    /// A whole tree with older content.
    OlderTree,
}

/// When the power is cut.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Some of the bytes have come.
    InTheMiddle,
    /// The first file has its final name, and the others are about to get theirs.
    Renaming,
    /// The client has told success.
    Ended,
}

const MOMENTS: [Moment; 3] = [Moment::InTheMiddle, Moment::Renaming, Moment::Ended];

/// A served tree, and the disk that it goes to.
struct Place {
    grove: Grove,
    image: PathBuf,
    random: Random,
}

/// What is found after a cut.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    successes: u64,
    whole_trees: u64,
    replaced_files: usize,
}

impl Place {
    fn mount(&self) -> Option<Mounted> {
        Mounted::image(&self.image, &self.grove.path("got"))
    }

    /// Gives every served file new content.
    fn renew_source(&mut self) {
        let served = self.grove.leaves("server_files/tree");
        for path in served.iter().filter(|(_, leaf)| leaf.kind == 'f').map(|(path, _)| path) {
            let length = self.random.below(BYTES_MAX + 1);
            let mut content = vec![0; usize::try_from(length).unwrap()];
            self.random.fill(&mut content);
            self.grove.serve(path, &content);
        }
    }

    fn get_over(&self, proxy: &ChaosProxy) -> Command {
        let url = format!("{}/tree", proxy.addr());
        self.grove.towline(["get", "-r", "--plain", "--json", "-f", &url, "-d", "got"])
    }

    /// Fetches, and cuts the power at the moment; tells whether it had succeeded.
    async fn cut(&mut self, moment: Moment, disk: Mounted) -> bool {
        let proxy = ChaosProxy::start(self.grove.server.addr(), |_| Plan::clean()).await;
        let place = self.random.below(FILES * BYTES_MAX / 2);
        let switch = PowerSwitch::of(&self.grove.path("got"));
        let first = self.grove.path("got/tree/folder 000/file 00000");
        let before = file_id(&first);
        let mut client = self.get_over(&proxy).spawn().unwrap();
        ended_before(&mut client, || match moment {
            Moment::InTheMiddle => proxy.forwarded(Direction::ToClient) >= place,
            Moment::Renaming => file_id(&first) != before,
            Moment::Ended => false,
        });
        switch.cut();
        client.kill().unwrap();
        let code = got_now(client).code;
        disk.unmount();
        code == Some(0)
    }

    /// One round; `None` where nothing can be mounted.
    async fn round(
        &mut self,
        beginning: Beginning,
        moment: Moment,
        tally: &mut Tally,
    ) -> Option<()> {
        let disk = self.mount()?;
        let tree = self.grove.path("got/tree");
        if beginning == Beginning::Nothing && tree.exists() {
            std::fs::remove_dir_all(&tree).unwrap();
        }
        disk.sync();
        let older = self.grove.leaves("got");
        self.renew_source();
        let has_succeeded = self.cut(moment, disk).await;

        let disk = self.mount()?;
        let told = format!("round {}, {beginning:?}, {moment:?}", tally.rounds);
        let is_there = tree.exists();
        assert!(is_there || !has_succeeded, "{told}: a success was lost");
        let newer = self.grove.leaves("server_files");
        if is_there {
            for (path, found) in
                self.grove.leaves("got").iter().filter(|(_, leaf)| leaf.kind == 'f')
            {
                let is_newer = newer.get(path).is_some_and(|leaf| leaf.content == found.content);
                let is_older = older.get(path).is_some_and(|leaf| leaf.content == found.content);
                let is_being_built = path.contains(".towline-part");
                assert!(is_newer || is_older || is_being_built, "{told}: {path} is neither");
                tally.replaced_files += usize::from(is_newer && !is_older);
            }
        }
        if has_succeeded || (is_there && beginning == Beginning::Nothing) {
            // A new tree has its name only once it is whole.
            self.grove.assert_got("got");
            tally.whole_trees += 1;
        }
        let rest = got(self.grove.get_with("got", &["-f"])).await;
        assert_eq!(rest.code, Some(0), "{told}: {rest:?}");
        self.grove.assert_got("got");
        disk.unmount();
        tally.rounds += 1;
        tally.successes += u64::from(has_succeeded);
        Some(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_leaves_each_file_of_a_tree_old_or_new_and_a_new_tree_whole_or_absent() {
    const NAME: &str = "native::trees::power::a_power_cut_leaves_each_file_of_a_tree_old_or_new_and_a_new_tree_whole_or_absent";
    if !has_own_mounts(NAME) {
        return;
    }
    let grove = Grove::with_files(FILES, BYTES_MAX);
    let image = grove.path("disk");
    if !ext4_image(&image, 128 * MIB) {
        return;
    }
    let mut place = Place { grove, image, random: Random::from_seed(7) };
    let mut tally = Tally::default();
    // An older tree is what the round before has left.
    let beginnings = [Beginning::Nothing, Beginning::OlderTree].into_iter().cycle();
    for (beginning, moment) in beginnings.zip(MOMENTS.into_iter().cycle()) {
        if tally.rounds >= rounds() || place.round(beginning, moment, &mut tally).await.is_none() {
            break;
        }
    }
    eprintln!("power cuts: {tally:?}");
}
