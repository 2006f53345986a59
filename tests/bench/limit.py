"""This machine's own limit for the bytes that a benchmark moved."""
import os
import socket
import time

CHUNK = bytes(256 * 1024)


def loopback_seconds(total_bytes):
    """Seconds to send that many bytes from one process to another over loopback TCP."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if child == 0:
        out = socket.create_connection(listener.getsockname())
        for _ in range(total_bytes // len(CHUNK)):
            out.sendall(CHUNK)
        out.sendall(CHUNK[:total_bytes % len(CHUNK)])
        out.close()
        os._exit(0)
    connection, _ = listener.accept()
    into = bytearray(1 << 20)
    started = time.monotonic()
    while connection.recv_into(into):
        pass
    seconds = time.monotonic() - started
    os.waitpid(child, 0)
    connection.close()
    listener.close()
    return seconds
