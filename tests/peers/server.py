#!/usr/bin/env python3
"""Robust file transfer: the server.

Serves the files of ``server_files/`` to any number of clients at a time, one thread each.

Usage:
    python server.py [PORT]

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
import threading
import time

DEFAULT_PORT = 9999
BUFFER_SIZE = 4096
SERVER_FILES_DIR = "server_files"
LOG_DIR = "logs"
SOCKET_TIMEOUT = 10  # seconds
SHUTDOWN_TIMEOUT = 5  # seconds left to running transfers after Ctrl+C
MAX_FILENAME_LENGTH = 4096  # bytes

logger = logging.getLogger("server")


class ProtocolError(Exception):
    """The client sent something that is not a request."""


def setup_logging():
    """Logs to the console and to logs/server_YYYYMMDD_HHMMSS.log."""
    os.makedirs(LOG_DIR, exist_ok=True)
    name = time.strftime("server_%Y%m%d_%H%M%S.log")
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s - %(levelname)s - [%(threadName)s] %(message)s",
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
            raise ConnectionError("connection closed by the client")
        data.extend(chunk)
    return bytes(data)


def receive_request(connection):
    """Receives the name of the file that the client asks for."""
    (length,) = struct.unpack("!I", receive_exactly(connection, 4))
    if not 0 < length <= MAX_FILENAME_LENGTH:
        raise ProtocolError("Invalid filename length: {}".format(length))
    try:
        return receive_exactly(connection, length).decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("Filename is not valid UTF-8")


def find_file(filename):
    """Returns the path of a served file, or None where there is no such file."""
    root = os.path.realpath(SERVER_FILES_DIR)
    try:
        path = os.path.realpath(os.path.join(root, filename))
        inside = os.path.commonpath([root, path]) == root
        return path if inside and os.path.isfile(path) else None
    except ValueError:  # a name with a NUL in it
        return None


def calculate_md5(path):
    """Returns the MD5 of a file as 32 hex characters."""
    md5 = hashlib.md5()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(BUFFER_SIZE), b""):
            md5.update(chunk)
    return md5.hexdigest()


def send_error(connection, message):
    """Answers with an error."""
    connection.sendall(b"ERROR" + message.encode("utf-8"))


def send_file(connection, path, filename):
    """Answers with a file, and logs every 10 % of it."""
    size = os.path.getsize(path)
    checksum = calculate_md5(path)
    name = os.path.basename(filename).encode("utf-8")
    logger.info("Sending %s (%d bytes, MD5 %s)", filename, size, checksum)

    connection.sendall(
        b"OK"
        + struct.pack("!I", len(name))
        + name
        + struct.pack("!Q", size)
        + checksum.encode("ascii")
    )

    sent = 0
    next_progress = 10
    with open(path, "rb") as file:
        while sent < size:
            chunk = file.read(min(BUFFER_SIZE, size - sent))
            if not chunk:
                raise IOError("{} became shorter during the transfer".format(filename))
            connection.sendall(chunk)
            sent += len(chunk)
            progress = sent * 100 // size
            if progress >= next_progress:
                logger.info("%s: %d%% (%d/%d bytes)", filename, progress, sent, size)
                next_progress = progress // 10 * 10 + 10
    logger.info("Transfer of %s complete", filename)


def handle_client(connection, address):
    """Answers the one request of a client, and closes the connection."""
    logger.info("Connection from %s:%d", *address[:2])
    with connection:
        connection.settimeout(SOCKET_TIMEOUT)
        try:
            filename = receive_request(connection)
            logger.info("Request for %r", filename)
            path = find_file(filename)
            if path is None:
                logger.warning("File not found: %r", filename)
                send_error(connection, "File not found: {}".format(filename))
            else:
                send_file(connection, path, filename)
        except ProtocolError as error:
            logger.warning("Bad request from %s:%d: %s", address[0], address[1], error)
            try:
                send_error(connection, str(error))
            except OSError:
                pass  # it did not wait for the answer
        except socket.timeout:
            logger.error("Timeout with %s:%d", *address[:2])
        except OSError as error:
            logger.error("Transfer to %s:%d failed: %s", address[0], address[1], error)
    logger.info("Connection with %s:%d closed", *address[:2])


class FileServer:
    """Accepts connections until it is stopped, and gives each its own thread."""

    def __init__(self, port):
        self.port = port
        self.running = threading.Event()

    def stop(self, signum=None, frame=None):
        """Ends `run`; also the handler of SIGINT."""
        self.running.clear()

    def run(self):
        """Serves until `stop` is called."""
        os.makedirs(SERVER_FILES_DIR, exist_ok=True)
        threads = []
        self.running.set()
        signal.signal(signal.SIGINT, self.stop)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", self.port))
            listener.listen(128)
            listener.settimeout(0.5)  # how often it looks whether to stop
            logger.info("Server listening on port %d", self.port)
            while self.running.is_set():
                try:
                    connection, address = listener.accept()
                except socket.timeout:
                    continue
                thread = threading.Thread(
                    target=handle_client, args=(connection, address), daemon=True
                )
                thread.start()
                threads = [other for other in threads if other.is_alive()]
                threads.append(thread)
        logger.info("Shutting down")
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        logger.info("Server stopped")


def parse_port(arguments):
    """Returns the port from the command line."""
    if not arguments:
        return DEFAULT_PORT
    if len(arguments) > 1:
        raise ValueError("too many arguments")
    port = int(arguments[0])
    if not 0 < port < 65536:
        raise ValueError("port out of range: {}".format(port))
    return port


def main():
    """Returns the exit code."""
    try:
        port = parse_port(sys.argv[1:])
    except ValueError as error:
        print("Error: {}\nUsage: python server.py [PORT]".format(error), file=sys.stderr)
        return 1
    setup_logging()
    try:
        FileServer(port).run()
    except OSError as error:
        logger.error("Server error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
