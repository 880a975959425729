//! A link to try things on by hand: `link MBIT_PER_S RTT_MS LOSS_PPM`; it is there until its standard
//! input ends, and then says what passed.

use std::error::Error;
use std::io;
use std::time::Duration;

use towline_testkit::link::{Link, LinkOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u32> =
        std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let [rate_mbit_per_s, rtt_ms, loss_ppm] = numbers[..] else {
        return Err("usage: link MBIT_PER_S RTT_MS LOSS_PPM".into());
    };
    let link = Link::up(&LinkOptions {
        rtt: Duration::from_millis(rtt_ms.into()),
        rate_bits_per_s: u64::from(rate_mbit_per_s) * 1_000_000,
        loss_ppm,
        ..LinkOptions::default()
    })?;
    for end in [link.near(), link.far()] {
        println!("ip netns exec {} COMMAND   # {}", end.namespace(), end.address());
    }
    io::copy(&mut io::stdin(), &mut io::sink())?;
    println!("{:#?}", link.statistics());
    Ok(())
}
