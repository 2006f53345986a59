"""A TCP proxy that keeps every byte that the server behind it sends.

    with RecordingProxy("127.0.0.1:8080") as proxy:
        …                                  # clients connect to proxy.url
        assert b"secret" not in proxy.sent()
"""

import socket
import threading

DEADLINE_S = 30


class RecordingProxy:
    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._streams = []  # a bytearray for each connection: what came from the server
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    @property
    def address(self):
        return self._listener.getsockname()

    @property
    def url(self):
        return "http://{}:{}".format(*self.address)

    def sent(self):
        """What the server has sent on all connections so far, one after the other."""
        with self._lock:
            return b"\n".join(bytes(stream) for stream in self._streams)

    @property
    def connections(self):
        with self._lock:
            return len(self._streams)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            stream = bytearray()
            with self._lock:
                self._streams.append(stream)
            try:
                server = socket.create_connection(self._target, DEADLINE_S)
            except OSError:
                client.close()
                continue
            for arguments in ((client, server, None), (server, client, stream)):
                threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, source, target, stream):
        try:
            while True:
                data = source.recv(1 << 16)
                if not data:
                    break
                if stream is not None:
                    with self._lock:
                        stream += data
                target.sendall(data)
        except OSError:
            pass
        for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
            try:
                end.shutdown(how)
            except OSError:
                pass
