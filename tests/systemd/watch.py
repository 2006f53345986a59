"""Runs inside the machine: follows one worker through the relay, prints each payload as a line."""

import sys

import ws
from follower import Follower


def main():
    url, token, count, deadline_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

    def connect(cursor):
        return ws.Client(url + (f"?cursor={cursor}" if cursor else ""), token=token,
                         subprotocols=["sightline.v1"])

    with Follower(connect) as follower:
        printed = 0
        while printed < count:
            follower.until(printed + 1, deadline_s)
            for event in follower.events[printed:]:
                print(event.payload_bytes.decode(), flush=True)
            printed = len(follower.events)


if __name__ == "__main__":
    main()
