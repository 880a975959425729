"""Counts the full handshakes of TLS 1.3 that a server completes in a time, one after the other."""

import socket
import ssl
import sys
import time

address, port, protocol, authority, seconds = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.set_alpn_protocols([protocol])

handshakes = 0
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    with socket.create_connection((address, int(port))) as plain:
        with context.wrap_socket(plain, server_hostname=address) as encrypted:
            if encrypted.selected_alpn_protocol() != protocol:
                sys.exit(f"the server does not speak {protocol}")
            handshakes += 1
print(f"{handshakes} handshakes")
