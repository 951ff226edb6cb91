"""The checks of a certification, in the order of a plugin's life. pytest runs this file; see pytest_plugin.py."""

from __future__ import annotations

import logging
import time
import tomllib
import warnings
from collections.abc import Iterator
from functools import partial

import pytest
from pydantic import SecretStr

from agent.certify import actions, conditions, detectors, explainers, forecasts
from agent.certify.candidate import Candidate
from agent.certify.rig import EVENT, SAMPLES, SPECS, Rig, fail, grown, held
from agent.config.models import RARE_PLUGIN_KEYS, PluginConfig
from agent.config.show import is_secret_name
from agent.export.config import ExportConfig
from agent.export.model import Answer, Batch, Body, Destination, Series, Temporality
from agent.plugin.declared import declared_versions
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginManager
from agent.rules.extension import ActionType, ConditionType

CANARY = "canary-5ecr3t-c4n4ry"
_CONSTRUCTION = 1.0  # seconds: `plugins list` and `check-config` construct every plugin
_CYCLES = 3
_WORK = (
    "predis_collect",
    "predis_export",
    "predis_destination",
    "predis_detect",
    "predis_causes",
    "predis_forecast",
    "predis_conditions",
    "predis_actions",
)
"""Hooks that a plugin is of no use without: one of them, at least."""


def test_its_source_says_which_plugin_api_it_is_for(candidate: Candidate) -> None:
    if declared_versions(candidate.entry_point.value) is None:
        fail("api_version cannot be read without importing the plugin: write api_version = 1 in its class")


def test_it_is_constructed_quickly_and_touches_nothing(rig: Rig) -> None:
    rig.load()  # its imports are done with that
    before, began = held(), time.monotonic()
    plugin = rig.load()
    seconds = time.monotonic() - began
    if seconds > _CONSTRUCTION:
        fail(f"to construct it takes {seconds:.1f} s: do the work in predis_start")
    if more := grown(before):
        fail(f"constructing it leaves {', '.join(more)}: open and start things in predis_start")
    assert plugin.instance is not None


def test_its_hooks_keep_their_deadlines_and_give_only_catalogued_metrics(rig: Rig) -> None:
    plugin = rig.load()
    rig.run(plugin)
    if not any(map(plugin.implements, _WORK)):
        fail(f"it does nothing: implement one of {', '.join(_WORK)}")


def test_it_can_be_stopped_at_any_time_and_started_anew(rig: Rig) -> None:
    plugin = rig.load()
    rig.timed(plugin, "predis_stop before predis_start", plugin.stop)
    rig.run(rig.load())
    again = rig.load()
    rig.run(again)
    rig.timed(again, "a second predis_stop", again.stop)


def test_it_leaves_no_threads_and_no_files_open(rig: Rig) -> None:
    rig.run(rig.load())  # what is made once in a process, such as a library's handle, is no leak
    before = held()
    for _ in range(_CYCLES):
        plugin = rig.load()
        rig.run(plugin)
        if plugin.implements("predis_destination"):
            _export(rig, rig.load())
    del plugin
    if more := grown(before):
        fail(f"after predis_stop there are more and more: {', '.join(more)}")


def test_a_reload_changes_it_while_the_old_one_runs(rig: Rig) -> None:
    old = rig.load()
    manager = rig.manager
    assert manager is not None
    rig.timed(old, "predis_start", lambda: old.start(rig.host()))
    rig.collect(old)
    same = manager.prepare(rig.config())
    if same.plugins[old.name] is not old:
        fail("a reload of the same configuration makes it anew: compare its Config with ==")
    changes = manager.prepare(rig.config(f"max_series={old.config.max_series + 1}"))
    if changes.problems:
        fail("\n".join(map(str, changes.problems)))
    rig.timed(old, "predis_stop", old.stop)
    manager.commit(changes)
    new = manager.plugins[old.name]
    assert new.config.max_series == old.config.max_series + 1
    rig.run(new)


def test_an_exporters_destination_encodes_everything_and_copes_with_nobody_there(rig: Rig) -> None:
    plugin = rig.load()
    if not plugin.implements("predis_destination"):
        pytest.skip("it has no destination")
    _export(rig, plugin)


def test_its_detector_copes_with_whatever_series_do_and_gives_sound_anomalies(rig: Rig) -> None:
    plugin = rig.load()
    if not plugin.implements("predis_detect"):
        pytest.skip("it has no detector")
    if not detectors.show(rig, plugin):
        pytest.skip("it coped, and found nothing: no anomaly of it was seen (watch predis_certify_level for this)")


def test_its_explainer_copes_with_every_incident_and_gives_sound_causes(rig: Rig) -> None:
    plugin = rig.load()
    if not plugin.implements("predis_causes"):
        pytest.skip("it has no explainer")
    if not explainers.ask(rig, plugin):
        pytest.skip("it coped, and gave no cause of any incident of predis_certify_level")


def test_its_actions_plan_without_a_change_are_done_once_and_can_be_taken_back(rig: Rig) -> None:
    plugin = rig.load()
    given = rig.timed(plugin, "predis_actions", plugin.actions)
    if not given:
        pytest.skip("it has no actions")
    rig.timed(plugin, "predis_start", lambda: plugin.start(rig.host()))
    problems = [problem for action in given if (problem := actions.try_out(rig, plugin, action))]
    rig.timed(plugin, "predis_stop", plugin.stop)
    if len(problems) == len(given):
        pytest.skip(f"none of its actions can be done here: {'; '.join(problems)}")
    if problems:
        warnings.warn(f"not all of its actions can be done here: {'; '.join(problems)}", stacklevel=1)


def test_its_conditions_answer_whatever_they_see(rig: Rig) -> None:
    plugin = rig.load()
    given = rig.timed(plugin, "predis_conditions", plugin.conditions)
    if not given:
        pytest.skip("it has no conditions")
    rig.timed(plugin, "predis_start", lambda: plugin.start(rig.host()))
    for condition in given:
        conditions.ask(rig, plugin, condition)
    rig.timed(plugin, "predis_stop", plugin.stop)


def test_its_forecaster_answers_everything_with_sound_forecasts(rig: Rig) -> None:
    plugin = rig.load()
    if not plugin.implements("predis_forecast"):
        pytest.skip("it has no forecaster")
    if not forecasts.ask(rig, plugin):
        fail("predis_forecast gives no rows for a level that rises for four hours: it is of no use")


def test_its_sample_is_its_defaults_and_explains_every_key(candidate: Candidate, rig: Rig) -> None:
    if not candidate.sample.is_file():
        fail(f"there is no {candidate.sample}: write its table there, with every key and its default")
    text = candidate.sample.read_text(encoding="utf-8")
    tables = tomllib.loads(text).get("plugins", {})
    if list(tables) != [candidate.name]:
        fail(f"{candidate.sample} has {sorted(tables)}: it is to have [plugins.{candidate.name}], and nothing else")
    model = type(rig.load().config)
    given, keys = tables[candidate.name], set(model.model_fields) - RARE_PLUGIN_KEYS
    if missing := sorted(keys - set(given)):
        fail(f"{candidate.sample} lacks {', '.join(missing)}")
    config = rig.config()
    parsed, _ = config.read_plugin(candidate.name, model)
    set_anew = {setting.partition("=")[0] for setting in rig.settings}
    required = {name: getattr(parsed, name) for name, field in model.model_fields.items() if field.is_required()}
    defaults = model.model_validate(required, context={"base": config.sources.base})
    differing = [
        name for name in set(model.model_fields) - set_anew if getattr(parsed, name) != getattr(defaults, name)
    ]
    if differing:
        fail(f"{candidate.sample} does not say the defaults of {', '.join(sorted(differing))}")
    lines = text.splitlines()
    own = keys - set(PluginConfig.model_fields) - set(ExportConfig.model_fields)
    for key in sorted(own):
        number = next(i for i, line in enumerate(lines) if line.partition("=")[0].strip() in (key, f'"{key}"'))
        above = next((line for line in reversed(lines[:number]) if line.startswith(("#", "["))), "[")
        if above.startswith("["):
            fail(f"{candidate.sample}:{number + 1}: no comment above says what {key} is")


def test_its_readme_has_the_sample_and_every_metric_action_and_condition(candidate: Candidate, rig: Rig) -> None:
    if not candidate.readme.strip():
        fail("there is no README.md, neither beside the plugin's module nor as its package's description")
    sample = candidate.sample.read_text(encoding="utf-8") if candidate.sample.is_file() else ""
    if not sample or f"```toml\n{sample.rstrip()}\n```" not in candidate.readme:
        fail("README.md does not have sample.toml, as it is, in a ```toml block")
    unnamed = [spec.name for spec in rig.load().specs if f"`{spec.name}`" not in candidate.readme]
    if unnamed:
        fail(f"README.md does not have {', '.join(unnamed)}, each in backquotes")
    plugin = rig.load()
    added: list[ActionType | ConditionType] = [*plugin.actions(), *plugin.conditions()]
    for kind in added:
        if unnamed := actions.undocumented(kind, candidate.readme):
            fail(f"README.md does not have {', '.join(unnamed)} of {kind.name}, each in backquotes")


def test_its_secrets_are_never_shown(
    rig: Rig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    plugin = rig.load()
    fields = type(plugin.config).model_fields
    secret = [name for name in fields if isinstance(getattr(plugin.config, name), SecretStr) or is_secret_name(name)]
    plain = [name for name in secret if isinstance(getattr(plugin.config, name), str)]
    if plain:
        fail(f"{', '.join(plain)}: by its name it is secret, so let its type be pydantic.SecretStr")
    values = {CANARY}
    manager = PluginManager(
        rig.config(*(f"{name}={CANARY}" for name in secret)), [rig.candidate.entry_point], isolate=False
    )
    manager.load()
    shown = [str(problem) for problem in manager.problems]
    if manager.plugins[plugin.name].state == "active":
        plugin = manager.plugins[plugin.name]
    else:  # it wants secrets of another form: those that it was given
        values = {str(getattr(plugin.config, name).get_secret_value()) for name in secret} - {""}
    try:
        rig.run(plugin)
        if plugin.implements("predis_destination"):
            _export(rig, plugin)
        for action in plugin.actions():
            actions.try_out(rig, plugin, action)
        for condition in plugin.conditions():
            conditions.ask(rig, plugin, condition)
        if plugin.implements("predis_causes"):
            explainers.ask(rig, plugin)
    except pytest.fail.Exception as failure:  # its errors are shown, too
        shown.append(str(failure))
    out, err = capfd.readouterr()
    shown += [repr(plugin.config), repr(plugin.instance), repr(plugin), plugin.note() or "", repr(plugin.specs)]
    shown += [out, err, caplog.text, *rig.said, *(repr(event) for event in rig.events)]
    if any(value in text for value in values for text in shown):
        where = next(text for text in shown if any(value in text for value in values))
        for value in values:
            where = where.replace(value, "<the secret>")
        fail(f"a secret is shown: {where[:500]}")


def _export(rig: Rig, plugin: LoadedPlugin) -> None:
    """The life of an exporter's destination: everything is encoded, and sent once to where nobody is."""
    rig.timed(plugin, "predis_start", lambda: plugin.start(rig.host()))
    destination = rig.timed(plugin, "predis_destination", plugin.destination)
    timeout = getattr(plugin.config, "timeout", 10.0) + 2.0
    batches = list(_batches(destination))
    if not batches:
        fail("no lane of its destination takes a gauge, a counter, a histogram or an event")
    for lane, batch in batches:
        limits = destination.limits(lane)
        data = rig.timed(plugin, "encode", partial(destination.encode, batch))
        if not isinstance(data, bytes) or not data:
            fail(f"encode gives {type(data).__name__} for lane {lane}: it is to give bytes")
        if len(data) > limits.raw_bytes:
            fail(f"encode gives {len(data)} bytes for {len(batch)} points, and its limit is {limits.raw_bytes}")
        body = Body(lane, data, "")
        answer = rig.timed(plugin, "send", partial(destination.send, body), timeout)
        if not isinstance(answer, Answer):
            fail(f"send gives {type(answer).__name__}: it is to give an Answer")
    rig.timed(plugin, "close", destination.close)
    rig.timed(plugin, "predis_stop", plugin.stop)


def _batches(destination: Destination) -> Iterator[tuple[str, Batch]]:
    now = time.time()
    starts = [] if destination.temporality is Temporality.delta else [now - 60.0]
    for spec, sample in zip(SPECS, SAMPLES, strict=True):
        for lane in destination.lanes(spec):
            series = Series(spec, sample.labels)
            yield lane, Batch(lane, now, 10.0, series=[series], values=[sample.value], starts=starts)
    for lane in destination.event_lanes(EVENT):
        yield lane, Batch(lane, now, events=[EVENT])
