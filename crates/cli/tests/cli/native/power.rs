//! The power is cut: a real file system loses all that it has not written, and is mounted again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use towline_testkit::chaos::{ChaosProxy, Direction};
use towline_testkit::random::Random;
use towline_testkit::tree::write_random_file;

use super::mounted::{Mounted, PowerSwitch, ext4_image, has_own_mounts};
use super::support::{Got, Ground, MIB, ended_before, got_now, got_of};
use crate::support::is_full;

const IMAGE_BYTES: u64 = 256 * MIB;

/// All that comes, over all connections.
const BYTES_PER_S: u64 = 48 * MIB;

fn rounds() -> u64 {
    if is_full() { 50 } else { 6 }
}

/// When the power is cut.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Some of the bytes have come.
    InTheMiddle,
    /// So they have, and the system has written what was there in between.
    AfterWritingBack,
    /// Every piece is noted: the file is synced and renamed.
    Publishing,
    /// The final name is another file.
    Renamed,
    /// The client has told success.
    AfterSuccess,
    /// It has told success about a file that another run had brought and not synced.
    UpToDate,
}

const MOMENTS: [Moment; 6] = [
    Moment::InTheMiddle,
    Moment::AfterWritingBack,
    Moment::Publishing,
    Moment::Renamed,
    Moment::AfterSuccess,
    Moment::UpToDate,
];

/// A served file, and the disk that it goes to.
struct Place {
    ground: Ground,
    image: PathBuf,
    random: Random,
}

/// What is found after a cut.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    successes: u64,
    found_new: u64,
    found_old: u64,
    found_none: u64,
    kept_bytes: u64,
    received_again_bytes: u64,
}

/// What was so before the cut.
struct Before {
    /// Pieces that were noted when the system wrote everything.
    written_back: u64,
    had_succeeded: bool,
}

impl Place {
    fn folder(&self) -> PathBuf {
        self.ground.path("got")
    }

    fn target(&self) -> PathBuf {
        self.ground.path("got/file")
    }

    /// What the final name holds, if it is there.
    fn content(&self) -> Option<Vec<u8>> {
        self.target().exists().then(|| std::fs::read(self.target()).unwrap())
    }

    /// Puts new content of another size in the source's place.
    fn renew_source(&mut self) {
        let new = self.ground.path("server_files/new");
        let size = 4 * MIB + self.random.below(6 * MIB);
        write_random_file(&new, size, self.random.next_u64()).unwrap();
        std::fs::rename(new, self.ground.served()).unwrap();
    }

    /// Waits until the moment has come, or the client has ended; tells how many pieces were noted when the system
    /// wrote everything.
    fn wait_for(
        &mut self,
        moment: Moment,
        client: &mut Child,
        proxy: &ChaosProxy,
        disk: &Mounted,
    ) -> u64 {
        let size = std::fs::metadata(self.ground.served()).unwrap().len();
        let place = self.random.below(size);
        let came = || proxy.forwarded(Direction::ToClient);
        let before = file_id(&self.target());
        match moment {
            Moment::InTheMiddle => ended_before(client, || came() >= place),
            Moment::AfterWritingBack => {
                let pieces = 1 + place / MIB / 2;
                ended_before(client, || self.ground.journaled("got") >= pieces);
                let noted = self.ground.journaled("got");
                disk.sync();
                ended_before(client, || came() >= place);
                return noted;
            }
            Moment::Publishing => {
                let pieces = size.div_ceil(MIB);
                ended_before(client, || self.ground.journaled("got") >= pieces)
            }
            Moment::Renamed => ended_before(client, || file_id(&self.target()) != before),
            Moment::AfterSuccess | Moment::UpToDate => ended_before(client, || false),
        };
        0
    }

    /// Fetches, and cuts the power at the moment.
    async fn cut(&mut self, moment: Moment, disk: Mounted) -> Before {
        let connections = 1 << self.random.below(3);
        let proxy = self.ground.throttled(BYTES_PER_S / connections).await;
        if matches!(moment, Moment::UpToDate) {
            let mut unsynced = self.ground.get_durably(self.ground.server.addr(), "got");
            got_of(unsynced.arg("--no-sync").spawn().unwrap()).await.done();
        }
        let switch = PowerSwitch::of(&self.folder());
        let mut command = self.ground.get_durably(proxy.addr(), "got");
        let mut client = command.arg(format!("-j{connections}")).spawn().unwrap();
        let written_back = self.wait_for(moment, &mut client, &proxy, &disk);
        switch.cut();
        client.kill().unwrap();
        let Got { code, .. } = got_now(client);
        disk.unmount();
        let has_ended = matches!(moment, Moment::AfterSuccess | Moment::UpToDate);
        assert!(code == Some(0) || !has_ended, "{code:?}");
        Before { written_back, had_succeeded: code == Some(0) }
    }

    /// One round; `None` where nothing can be mounted.
    async fn round(&mut self, moment: Moment, has_old: bool, tally: &mut Tally) -> Option<()> {
        let disk = Mounted::image(&self.image, &self.folder())?;
        if !has_old {
            // The first round has none.
            let _ = std::fs::remove_file(self.target());
        }
        disk.sync();
        let old = self.content();
        self.renew_source();
        let new = std::fs::read(self.ground.served()).unwrap();
        let before = self.cut(moment, disk).await;

        let disk = Mounted::image(&self.image, &self.folder())?;
        let found = self.content();
        let told = format!("round {}, {moment:?}", tally.rounds);
        let is_new = found.as_ref() == Some(&new);
        assert!(is_new || found == old, "{told}: neither the old file nor the new one");
        assert!(is_new || !before.had_succeeded, "{told}: a success was lost");
        let client = self.ground.get_durably(self.ground.server.addr(), "got").spawn().unwrap();
        let done = got_of(client).await.done();
        self.ground.assert_content("got", &done);
        // The last piece is shorter.
        let written_back_bytes = before.written_back.saturating_sub(1) * MIB;
        assert!(done.kept_bytes >= written_back_bytes, "{told}: {done:?}");
        disk.unmount();

        tally.rounds += 1;
        tally.successes += u64::from(before.had_succeeded);
        tally.found_new += u64::from(is_new);
        tally.found_old += u64::from(!is_new && found.is_some());
        tally.found_none += u64::from(found.is_none());
        tally.kept_bytes += done.kept_bytes;
        tally.received_again_bytes += done.received_bytes;
        Some(())
    }
}

/// Tells files apart that had a name one after the other.
pub(super) fn file_id(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_leaves_the_old_file_or_the_whole_new_one_and_no_success_is_lost() {
    const NAME: &str = "native::power::a_power_cut_leaves_the_old_file_or_the_whole_new_one_and_no_success_is_lost";
    if !has_own_mounts(NAME) {
        return;
    }
    let ground = Ground::with_file(MIB);
    let image = ground.path("disk");
    if !ext4_image(&image, IMAGE_BYTES) {
        return;
    }
    let mut place = Place { ground, image, random: Random::from_seed(5) };
    let mut tally = Tally::default();
    let mut moments = MOMENTS.iter().cycle();
    while tally.rounds < rounds() {
        let moment = *moments.next().unwrap();
        let has_old = place.random.below(2) == 0;
        if place.round(moment, has_old, &mut tally).await.is_none() {
            return;
        }
    }
    eprintln!("power cuts: {tally:?}");
}
