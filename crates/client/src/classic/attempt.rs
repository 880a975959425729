//! One attempt: connect, ask, check the answer, receive, verify.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use towline_proto::classic::{Header, Reply, ReplyError};
use towline_proto::codec::Decoded;
use towline_proto::limits::CLASSIC_ERROR_BYTES_MAX;
use towline_store::staged::Staged;

use super::Options;
use super::error::{AttemptError, Phase, in_time};
use super::receive::receive;
use crate::connect::connect;
use crate::monitor::{Event, Monitor};

/// Bytes of a foreign server's answer that are shown, beyond those that gave it away.
const SAMPLE_BYTES: usize = 30;

/// Fetches the file into `staged`, from its first byte, verifies it, and returns its size. Counts in
/// `received_bytes` what arrived, also when it fails.
pub(super) async fn attempt(
    options: &Options,
    staged: &Staged,
    monitor: &dyn Monitor,
    received_bytes: &mut u64,
) -> Result<u64, AttemptError> {
    let mut stream = connect(&options.address, options.silence_max).await?;
    if let Ok(peer) = stream.peer_addr() {
        monitor.on_event(&Event::Connected { peer });
    }
    send_request(&mut stream, options).await?;
    let Header { name: _, size, md5: declared } = read_header(&mut stream, options).await?;
    monitor.on_event(&Event::Started { size, md5: Some(declared) });
    staged.check_room(size)?;
    let on_received = |bytes| {
        *received_bytes += bytes;
        monitor.on_event(&Event::Received { bytes });
    };
    let computed = receive(&mut stream, size, staged, options, on_received).await?;
    if computed != declared {
        return Err(AttemptError::Mismatch { declared, computed });
    }
    monitor.on_event(&Event::Verified { md5: computed });
    Ok(size)
}

async fn send_request(stream: &mut TcpStream, options: &Options) -> Result<(), AttemptError> {
    let bytes = options.request.encode();
    in_time(Phase::Request, options, stream.write_all(&bytes)).await
}

/// Reads the answer up to the content, and no further.
async fn read_header(stream: &mut TcpStream, options: &Options) -> Result<Header, AttemptError> {
    let mut bytes = Vec::new();
    loop {
        match Reply::decode(&bytes).map_err(|error| error_with_sample(error, stream))? {
            Decoded::NeedMore(missing) => {
                let read = bytes.len();
                bytes.resize(read + missing, 0);
                read_exact(stream, &mut bytes[read..], options).await?;
            }
            Decoded::Done(Reply::Found(header)) if header.answers(&options.request) => {
                return Ok(header);
            }
            Decoded::Done(Reply::Found(header)) => {
                return Err(AttemptError::WrongName(header.name));
            }
            Decoded::Done(Reply::Refused) => return Err(read_refusal(stream, options).await),
        }
    }
}

/// Shows more of what a foreign server says, as far as it is already here: `SSH-2.0` tells more than `SS`.
fn error_with_sample(error: ReplyError, stream: &TcpStream) -> ReplyError {
    let ReplyError::NotClassic(mut first) = error else { return error };
    let mut more = [0; SAMPLE_BYTES];
    // Nothing more may have come yet; what is known is enough then.
    let read = stream.try_read(&mut more).unwrap_or(0);
    first.extend_from_slice(&more[..read]);
    ReplyError::NotClassic(first)
}

/// Fills `bytes`; a server that sends them one by one, each in time, is waited for.
async fn read_exact(
    stream: &mut TcpStream,
    mut bytes: &mut [u8],
    options: &Options,
) -> Result<(), AttemptError> {
    while !bytes.is_empty() {
        match in_time(Phase::Reply, options, stream.read(bytes)).await? {
            0 => {
                return Err(AttemptError::Closed { phase: Phase::Reply });
            }
            read => bytes = &mut bytes[read..],
        }
    }
    Ok(())
}

/// Reads the message of a refusal, as far as it comes in time and within its cap.
async fn read_refusal(stream: &mut TcpStream, options: &Options) -> AttemptError {
    let mut message = Vec::new();
    let mut capped = stream.take(CLASSIC_ERROR_BYTES_MAX as u64);
    // A message that breaks off is still the server's message.
    let _ = timeout(options.silence_max, capped.read_to_end(&mut message)).await;
    AttemptError::Refused(message)
}
