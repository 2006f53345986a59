"""Another policy: a view that changed ends its sessions and its cursors; no other notices."""

import json
import threading

import pytest

from pipeline import Pipeline

POLICY = """
version: 1
roles:
  operator:
    observe: [{runtime: "*", worker: "*"}]
    events: {allow: ["*"]}
  viewer:
    observe: [{runtime: "*", worker: "*"%(hidden)s}]
    events:
      allow: ["*"]
      deny: ["thinking_*"]
    redact:
      - {in: ["tool_result"], path: "data.output", action: %(action)s}
"""
FIRST = {"hidden": "", "action": "mask"}
COUNT = 20


class Stage(Pipeline):
    """A pipeline whose policy can be replaced."""

    def __init__(self, bin_dir, directory):
        self.file = directory / "policy.yaml"
        self.write(FIRST)
        super().__init__(bin_dir, policy=self.file)

    def write(self, values, comment=""):
        self.file.write_text(comment + POLICY % values)

    def change(self, comment="", with_relay=False, **values):
        self.write({**FIRST, **values}, comment)
        self.restart("projection", *(["backend-relay"] if with_relay else []))

    def fill(self, worker_id):
        self.publish(worker_id, [line(i) for i in range(COUNT)])

    def begin(self, worker_id, role):
        """A session that has the history, and its last cursor."""
        client = self.observe(worker_id, role)
        return client, client.until_caught_up()[-1].cursor


def line(i):
    kind, data = ("snapshot", {"n": i}) if i == 0 else ("tool_result", {"output": f"secret {i}"})
    return json.dumps({"event": kind, "data": data}, separators=(",", ":")).encode()


def masked(i):
    return line(i).replace(f"secret {i}".encode(), b"[redacted]")


def removed(i):
    return line(i).replace(f'"output":"secret {i}"'.encode(), b"")


@pytest.fixture
def stage(bin_dir, tmp_path):
    with Stage(bin_dir, tmp_path) as stage:
        yield stage


def assert_changed(client):
    diagnostic = client.diagnostic("backend.policy_changed")
    assert diagnostic["final"] and diagnostic["retry"] == "from_keyframe"
    assert client.closed() == (4412, "backend.policy_changed")


def assert_refused(stage, worker_id, role, cursor):
    for plain in (False, True):
        with stage.observe(worker_id, role, cursor=cursor, plain=plain) as client:
            assert_changed(client)
            assert not client.all_events()


def test_sessions_of_a_changed_view_end_and_the_others_go_on(stage):
    stage.fill("w")
    operator, operators_cursor = stage.begin("w", "operator")
    viewer, viewers_cursor = stage.begin("w", "viewer")
    with operator, viewer:
        assert viewer.all_events()[1].payload_bytes == masked(1)
        stage.change(action="remove")
        assert_changed(viewer)
        stage.publish("w", [line(COUNT)])
        assert operator.events(1)[0].payload_bytes == line(COUNT)
        assert not [f for f in operator.frames if f["kind"] == "diagnostic"
                    and f["diagnostic"].get("final")]
        # Nothing of the new view came before the end of the old one.
        assert [e.payload_bytes for e in viewer.all_events()[1:]] == \
            [masked(i) for i in range(1, COUNT)]
    assert_refused(stage, "w", "viewer", viewers_cursor)
    with stage.observe("w", "operator", cursor=operators_cursor) as operator:
        assert operator.events(1)[0].payload_bytes == line(COUNT)
    with stage.observe("w", "viewer") as viewer:  # from the keyframe, as it was told
        assert [e.payload_bytes for e in viewer.until_caught_up()[1:]] == \
            [removed(i) for i in range(1, COUNT + 1)]


def test_older_cursors_of_a_changed_view_are_refused_whoever_else_restarted(stage):
    stage.fill("w")
    client, cursor = stage.begin("w", "viewer")
    client.close()
    stage.change(action="remove", with_relay=True)
    assert_refused(stage, "w", "viewer", cursor)
    stage.change(with_relay=True)  # the view that the cursor was made of is back
    stage.publish("w", [line(COUNT)])
    with stage.observe("w", "viewer", cursor=cursor) as client:
        assert client.events(1)[0].payload_bytes == masked(COUNT)


def test_the_same_rules_in_another_file_change_nothing(stage):
    stage.fill("w")
    viewer, cursor = stage.begin("w", "viewer")
    with viewer:
        stage.change(comment="# the same, said differently\n")
        stage.publish("w", [line(COUNT)])
        assert viewer.events(1)[0].payload_bytes == masked(COUNT)
    with stage.observe("w", "viewer", cursor=cursor) as viewer:
        assert viewer.events(1)[0].payload_bytes == masked(COUNT)


def test_a_stream_that_a_role_loses_ends_and_then_does_not_exist(stage):
    for worker_id in ("w", "w-private"):
        stage.fill(worker_id)
    kept, _ = stage.begin("w", "viewer")
    lost, cursor = stage.begin("w-private", "viewer")
    operator, _ = stage.begin("w-private", "operator")
    with kept, lost, operator:
        stage.change(hidden=', except: ["*-private"]')
        assert_changed(lost)
        stage.publish("w", [line(COUNT)])
        stage.publish("w-private", [line(COUNT)])
        assert kept.events(1)[0].payload_bytes == masked(COUNT)
        assert operator.events(1)[0].payload_bytes == line(COUNT)
    for worker_id, at in (("w-private", cursor), ("w-private", None), ("nobody", None)):
        with stage.observe(worker_id, "viewer", cursor=at) as client:
            diagnostic = client.diagnostic()
            assert (diagnostic["code"], diagnostic["final"]) == ("backend.worker_not_found", True)
            assert client.closed()[0] == 4404


CHANGES = 6
VIEWERS = 3


class Load:
    """Publishes numbered lines as long as it is open; `lines` is what was published."""

    def __init__(self, stage, worker_id):
        self.lines = [line(i) for i in range(COUNT)]
        stage.publish(worker_id, self.lines)
        self._over = threading.Event()
        self._publisher = stage.publisher(worker_id)
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._over.wait(0.002):
            self.lines.append(line(len(self.lines)))
            self._publisher.send(self.lines[-1])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._publisher.close()


def assert_one_view(events, view):
    """From the keyframe on, every one of them, as this view shows it."""
    assert [e.payload_bytes for e in events] == [line(0)] + [view(i) for i in range(1, len(events))]


def change_under_load(stage, action, view):
    """Viewers saw `view` and nothing else until their sessions ended; their cursors are void."""
    viewers = [stage.observe("w", "viewer") for _ in range(VIEWERS)]
    for viewer in viewers:
        viewer.until_caught_up()
    stage.change(action=action)
    for viewer in viewers:
        assert_changed(viewer)
        events = viewer.all_events()
        viewer.close()
        assert len(events) >= COUNT
        assert_one_view(events, view)
        with stage.observe("w", "viewer", cursor=events[-1].cursor) as again:
            assert_changed(again)
            assert not again.all_events()


def test_views_change_under_load_and_no_session_sees_two_of_them(stage):
    views = {"mask": masked, "remove": removed}
    before = "mask"
    load = Load(stage, "w")
    with stage.follow("w") as operator:
        operator.until(COUNT)
        with load:
            for after in ("remove", "mask") * (CHANGES // 2):
                change_under_load(stage, after, views[before])
                before = after
        operator.until(len(load.lines))
        assert [e.payload_bytes for e in operator.events] == load.lines
        assert operator.sessions == 1
        assert {d["code"] for d in operator.diagnostics} <= {"backend.projection_unavailable"}
