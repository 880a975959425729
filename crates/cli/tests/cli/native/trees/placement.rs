//! Where trees go: a slash at the end of the URL stands for what is in the folder.

use super::support::Grove;
use crate::native::support::got;

#[tokio::test]
async fn a_slash_at_the_end_stands_for_what_is_in_the_folder() {
    let grove = Grove::with_files(12, 10);
    let address = grove.server.addr();
    let root = |folder: &str| {
        let (served, here) = (grove.leaves("server_files/tree"), grove.leaves(folder));
        assert_eq!(served, here, "{folder}");
    };
    for _ in 0..2 {
        for (url, args, folder) in [
            ("/tree", ["-d", "without"], "without/tree"),
            ("/tree/", ["-d", "with"], "with"),
            ("/tree", ["-o", "named/here"], "named/here"),
            ("/tree/", ["-o", "named/there"], "named/there"),
        ] {
            let url = format!("{address}{url}");
            let fixed = ["get", "-r", "--plain", "--json", "--no-sync", &url];
            let got = got(grove.towline(fixed.into_iter().chain(args))).await;
            assert_eq!(got.code, Some(0), "{got:?}");
            root(folder);
        }
        let whole = format!("{address}/");
        let args = ["get", "-r", "--plain", "--json", "--no-sync", &whole, "-d", "whole"];
        assert_eq!(got(grove.towline(args)).await.code, Some(0));
        root("whole/tree");
    }
}
