#!/usr/bin/env python3
"""Robust file transfer: the client.

Downloads one file into ``client_downloads/`` and verifies its checksum.

Usage:
    python client.py FILENAME [HOST] [PORT]

Request:   uint32 length of the name, name (UTF-8)
Response:  "OK", uint32 length of the name, name, uint64 size, MD5 (32 hex characters), data
           or "ERROR" and a message, until the connection is closed.
All integers are in network byte order.
"""

import hashlib
import logging
import os
import signal
import socket
import struct
import sys
import time

DEFAULT_HOST = "localhost"
DEFAULT_PORT = 9999
BUFFER_SIZE = 4096
MAX_RETRIES = 5  # connection attempts
INITIAL_BACKOFF = 1  # seconds
MAX_BACKOFF = 32  # seconds
SOCKET_TIMEOUT = 10  # seconds
DOWNLOAD_DIR = "client_downloads"
LOG_DIR = "logs"
PROGRESS_WIDTH = 40  # characters
MEGABYTE = 1024 * 1024

logger = logging.getLogger("client")


class TransferError(Exception):
    """A failure that another attempt would not mend."""


def setup_logging():
    """Logs to the console and to logs/client_YYYYMMDD_HHMMSS.log."""
    os.makedirs(LOG_DIR, exist_ok=True)
    name = time.strftime("client_%Y%m%d_%H%M%S.log")
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s - %(levelname)s - %(message)s",
        handlers=[
            logging.FileHandler(os.path.join(LOG_DIR, name), encoding="utf-8"),
            logging.StreamHandler(sys.stdout),
        ],
    )


def receive_exactly(connection, length):
    """Receives exactly `length` bytes, in as many pieces as they come."""
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(min(BUFFER_SIZE, length - len(data)))
        if not chunk:
            raise ConnectionError("connection closed by the server")
        data.extend(chunk)
    return bytes(data)


def receive_until_closed(connection):
    """Receives everything up to the end of the connection."""
    data = bytearray()
    for chunk in iter(lambda: connection.recv(BUFFER_SIZE), b""):
        data.extend(chunk)
    return bytes(data)


def receive_header(connection):
    """Receives the response up to the data: name, size and checksum."""
    status = receive_exactly(connection, 2)
    if status != b"OK":
        status += receive_exactly(connection, 3)
        if status != b"ERROR":
            raise TransferError("Unknown response: {!r}".format(status))
        message = receive_until_closed(connection).decode("utf-8", "replace")
        raise TransferError("Server error: {}".format(message))
    (length,) = struct.unpack("!I", receive_exactly(connection, 4))
    name = receive_exactly(connection, length).decode("utf-8")
    (size,) = struct.unpack("!Q", receive_exactly(connection, 8))
    checksum = receive_exactly(connection, 32).decode("ascii")
    return name, size, checksum


def show_progress(received, size):
    """Draws the progress bar over the last one."""
    fraction = received / size if size else 1.0
    filled = int(PROGRESS_WIDTH * fraction)
    sys.stdout.write(
        "\r[{}{}] {:5.1f}% ({:.2f}/{:.2f} MB)".format(
            "#" * filled,
            "-" * (PROGRESS_WIDTH - filled),
            fraction * 100,
            received / MEGABYTE,
            size / MEGABYTE,
        )
    )
    sys.stdout.flush()


def receive_data(connection, file, size):
    """Receives the data into `file`, and returns its MD5."""
    md5 = hashlib.md5()
    received = 0
    shown = -1
    show_progress(0, size)
    while received < size:
        chunk = connection.recv(min(BUFFER_SIZE, size - received))
        if not chunk:
            raise ConnectionError("connection closed after {} of {} bytes".format(received, size))
        file.write(chunk)
        md5.update(chunk)
        received += len(chunk)
        per_mille = received * 1000 // size
        if per_mille != shown:
            shown = per_mille
            show_progress(received, size)
    show_progress(received, size)
    sys.stdout.write("\n")
    return md5.hexdigest()


def save(connection, name, size, checksum):
    """Receives the data into the download folder and verifies it; nothing is left of a failure."""
    basename = os.path.basename(name)
    if basename in ("", ".", ".."):
        raise TransferError("Server sent an invalid filename: {!r}".format(name))
    path = os.path.join(DOWNLOAD_DIR, basename)
    try:
        with open(path, "wb") as file:
            actual = receive_data(connection, file, size)
        if actual != checksum:
            raise TransferError(
                "Checksum mismatch: expected {}, received {}".format(checksum, actual)
            )
    except BaseException:
        if os.path.exists(path):
            os.remove(path)
        raise
    logger.info("Checksum verified: %s", actual)
    logger.info("Saved to %s", path)


def download(filename, host, port):
    """Makes one attempt to download a file."""
    logger.info("Connecting to %s:%d", host, port)
    with socket.create_connection((host, port), timeout=SOCKET_TIMEOUT) as connection:
        connection.settimeout(SOCKET_TIMEOUT)
        logger.info("Connected, requesting %s", filename)
        request = filename.encode("utf-8")
        connection.sendall(struct.pack("!I", len(request)) + request)
        name, size, checksum = receive_header(connection)
        logger.info("Receiving %s (%d bytes, MD5 %s)", name, size, checksum)
        save(connection, name, size, checksum)


def download_with_retry(filename, host, port):
    """Downloads a file, with a longer wait after each failed attempt; returns whether it has it."""
    backoff = INITIAL_BACKOFF
    for attempt in range(1, MAX_RETRIES + 1):
        try:
            download(filename, host, port)
            return True
        except (TransferError, UnicodeError) as error:
            logger.error("%s", error)
            return False
        except OSError as error:
            logger.warning("Attempt %d of %d failed: %s", attempt, MAX_RETRIES, error)
        if attempt < MAX_RETRIES:
            logger.info("Retrying in %d s", backoff)
            time.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF)
    logger.error("Giving up after %d attempts", MAX_RETRIES)
    return False


def interrupt(signum, frame):
    """The handler of SIGINT, also where the shell started the client with SIGINT ignored."""
    raise KeyboardInterrupt


def parse_arguments(arguments):
    """Returns filename, host and port from the command line."""
    if not 1 <= len(arguments) <= 3:
        raise ValueError("expected a filename, and perhaps a host and a port")
    host = arguments[1] if len(arguments) > 1 else DEFAULT_HOST
    port = int(arguments[2]) if len(arguments) > 2 else DEFAULT_PORT
    return arguments[0], host, port


def main():
    """Returns the exit code."""
    try:
        filename, host, port = parse_arguments(sys.argv[1:])
    except ValueError as error:
        usage = "Usage: python client.py FILENAME [HOST] [PORT]"
        print("Error: {}\n{}".format(error, usage), file=sys.stderr)
        return 1
    setup_logging()
    signal.signal(signal.SIGINT, interrupt)
    os.makedirs(DOWNLOAD_DIR, exist_ok=True)
    try:
        return 0 if download_with_retry(filename, host, port) else 1
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        logger.info("Interrupted, shutting down")
        return 1


if __name__ == "__main__":
    sys.exit(main())
