//! What bounds every transfer: the bare wire, and one core's BLAKE3. They stand in a table for scale.
//!
//! Both are commands of this program, so that they are timed as the others are: a whole process.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};

use super::Bench;
use super::contestant::Contestant;
use super::server::{Server, free_port};

/// The subcommand of this program that `Limit` is an argument of.
pub const COMMAND: &str = "bench-limit";

/// As large as towline's pieces; larger ones are no faster.
const BUFFER_BYTES: usize = 1 << 20;

/// `bench-limit`, for this program itself.
#[derive(Args)]
pub struct Limit {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Sends a file to whoever connects, until it is killed
    Send { port: u16, file: PathBuf },
    /// Receives that many bytes and drops them
    Receive { port: u16, bytes: u64 },
    /// Hashes a file with BLAKE3 in one thread
    Hash { file: PathBuf },
}

/// Does one part of a limit's measurement.
pub fn run(limit: &Limit) -> Result<()> {
    match &limit.part {
        Part::Send { port, file } => send(&TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?, file),
        Part::Receive { port, bytes } => {
            receive(&TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?, *bytes)
        }
        Part::Hash { file } => hash(file),
    }
}

/// One TCP connection that carries the file to a reader that drops it.
///
/// The sender uses `sendfile`, not `write` from a buffer, because the servers do: what it saves must not
/// let a transfer look better than its limit. What is left is the least that one connection costs: the
/// kernel's work and one copy, into the reader's buffer.
pub(super) struct Wire {
    _sender: Server,
    port: u16,
    bytes: u64,
}

impl Wire {
    pub(super) const NAME: &str = "bare TCP, one connection";

    pub(super) fn start(bench: &Bench, source: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = this_program("send")?;
        command.arg(port.to_string()).arg(source);
        let log = bench.scratch.path().join("wire.log");
        let sender = Server::start(&mut command, port, &log, &bench.interruption)?;
        Ok(Self { _sender: sender, port, bytes: bench.file_bytes })
    }
}

impl Contestant for Wire {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = this_program("receive").expect("it was found when the sender started");
        command.args([self.port.to_string(), self.bytes.to_string()]);
        command
    }
}

/// One core that reads the file and hashes it.
pub(super) struct Blake3 {
    pub(super) source: PathBuf,
}

impl Blake3 {
    pub(super) const NAME: &str = "BLAKE3, one thread";
}

impl Contestant for Blake3 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn command(&self) -> Command {
        let mut command = this_program("hash").expect("a program that runs has a path");
        command.arg(&self.source);
        command
    }
}

fn this_program(part: &str) -> Result<Command> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let mut command = Command::new(program);
    command.args([COMMAND, part]);
    Ok(command)
}

fn send(listener: &TcpListener, file: &Path) -> Result<()> {
    loop {
        let (receiver, _) = listener.accept()?;
        match send_file(&receiver, &File::open(file)?) {
            Ok(()) => {}
            // Whoever only looks whether somebody listens goes away at once.
            Err(gone)
                if matches!(gone.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

#[cfg(target_os = "linux")]
fn send_file(receiver: &TcpStream, file: &File) -> io::Result<()> {
    // A call carries less than 2 GiB, whatever it is asked for; zero is the end of the file.
    while rustix::fs::sendfile(receiver, file, None, 1 << 30)? > 0 {}
    Ok(())
}

/// Elsewhere nothing is measured.
#[cfg(not(target_os = "linux"))]
fn send_file(mut receiver: &TcpStream, mut file: &File) -> io::Result<()> {
    io::copy(&mut file, &mut receiver).map(drop)
}

fn receive(mut stream: impl Read, bytes: u64) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut received = 0;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            ensure!(received == bytes, "received {received} bytes of {bytes}");
            return Ok(());
        }
        received += length as u64;
    }
}

fn hash(file: &Path) -> Result<()> {
    let mut file = File::open(file)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hasher = blake3::Hasher::new();
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            println!("{}", hasher.finalize());
            return Ok(());
        }
        hasher.update(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_wire_carries_the_whole_file_to_everybody_who_asks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 3 << 20]).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the process of the tests.
        thread::spawn(move || send(&listener, &path));

        let connect = || TcpStream::connect(address).unwrap();
        drop(connect());
        receive(connect(), 3 << 20).unwrap();
        let error = receive(connect(), 4 << 20).unwrap_err().to_string();
        assert!(error.contains("of 4194304"), "{error}");
    }
}
