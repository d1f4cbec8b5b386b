"""What is on record about sources is told, and silence is not called clean."""

from __future__ import annotations

from phosphene.data.catalogue import read_catalogue
from phosphene.pipelines.evaluation.known_overlaps import audit_sources, read_known_overlaps


def test_every_stimulus_set_is_in_the_catalogue() -> None:
    known = read_known_overlaps()
    assert set(known.stimulus_sets) <= {entry.name for entry in read_catalogue()}
    assert all(part.matches and part.sources for part in known.parts.values())


def test_shared_sources_are_told() -> None:
    found = audit_sources("nsd", ["microsoft/git-large-coco"])
    assert found.verdict == "noted"
    assert list(found.details["shared_with"]) == ["git-large-coco"]
    assert "come from coco, and so did training pictures of git-large-coco" in found.summary
    assert "brain-it" in audit_sources("NSD subject 1", []).details["shared_with"]
    assert found.details["not_established"]


def test_parts_without_a_shared_source_are_not_named() -> None:
    found = audit_sources("god", ["git-large-coco"])
    assert found.details["shared_with"] == {}
    assert found.verdict == "noted"


def test_unknown_sets_are_not_checked() -> None:
    for name in ("virtual-fmri nsd-7t", "digits69", "godzilla"):
        assert audit_sources(name, ["alexnet"]).verdict == "not checked", name


def test_concepts_of_a_test_that_stand_in_training_are_told() -> None:
    found = audit_sources("things-meg subject 2", ["ip-adapter"])
    assert found.details["stimulus_set"] == "things-meg"
    assert "the concepts of the test stand in training" in found.details["note"]
    assert "200 of 200 other concepts" in audit_sources("THINGS_EEG2", []).details["note"]
    assert "THINGS" in found.details["not_established"]
