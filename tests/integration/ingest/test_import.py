"""History, by the route and by the command: events keep their time, are marked, and count once."""

from pathlib import Path

import msgspec
import pytest

from deploy.importer import importing, main
from deploy.importer.ingest import Ingest as Client
from tests.integration.ingest.conftest import GOOD, Ingest, Source


async def test_the_route_marks_what_it_takes_and_the_others_do_not(source: Source) -> None:
    old = {**GOOD, "timestamp": "2020-02-29T12:00:00.000Z"}
    answer = await source.post("/v1/import", {"batch": [old]})
    assert answer.json() == {"success": True, "results": [{"status": "ok", "messageId": "good"}]}
    await source.post("/v1/batch", {"batch": [{**old, "messageId": "live"}]})
    records = {msgspec.json.decode(record.data)["messageId"]: record for record in await source.records()}
    assert {id: record.imported for id, record in records.items()} == {"good": True, "live": False}
    assert records["good"].time.isoformat() == "2020-02-29T12:00:00+00:00"


async def test_the_command_continues_after_a_kill_and_a_second_run_adds_nothing(
    ingest: Ingest, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"user{number},2020-02-{number % 28 + 1:02},{number}.50" for number in range(50)]
    file, mapping = tmp_path / "orders.csv", tmp_path / "map.json"
    file.write_text("\n".join(["who,at,total", *rows, "0000,2020-02-01,1.00", "ann,2020-02-01,free"]))
    properties = {"order_id": "total", "revenue": {"column": "total", "type": "number"}}
    document = {"event": {"value": "Order Completed"}, "userId": "who", "timestamp": "at", "properties": properties}
    mapping.write_bytes(msgspec.json.encode(document))
    arguments = [str(file), "--map", str(mapping), "--to", ingest.url, "--key", source.key]
    monkeypatch.setattr(importing, "BATCH", 20)
    send, batches = Client.send, 0

    def killed(self: Client, events: list[bytes]) -> object:
        nonlocal batches
        batches += 1
        results = send(self, events)
        if batches == 2:
            raise KeyboardInterrupt  # stored, and nobody knows
        return results

    monkeypatch.setattr(Client, "send", killed)
    with pytest.raises(KeyboardInterrupt):
        main.main(arguments)
    assert main.main(arguments) == 1  # two rows are refused
    records = await source.records()
    assert len(records) == 50 + 20  # profile drops the second of each, by the record's id
    assert len({record.id for record in records}) == 50
    assert all(record.imported for record in records)
    report = (tmp_path / "orders.csv.refused.csv").read_text()
    assert '52,"an event needs a userId' in report
    assert "53,total: 'free' is no number" in report
    (tmp_path / "orders.csv.import.json").unlink()
    main.main(arguments)
    assert len({record.id for record in await source.records()}) == 50
