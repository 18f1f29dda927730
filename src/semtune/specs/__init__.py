"""From what a user wrote to a checked and complete RunSpec, and back to `spec.yaml`."""

from semtune.specs.folders import check_writable
from semtune.specs.optimizers import check_device, check_optimizer
from semtune.specs.record import mapping_from, record_from
from semtune.specs.resolve import resolve
from semtune.specs.settings import (
    method_settings,
    optimizer_settings,
    prompt_settings,
    readout_settings,
    strategy_settings,
)
from semtune.specs.spec import read_spec, spec_from, with_absolute_paths, with_changes, with_method, write_spec
from semtune.specs.yaml_file import read_yaml

__all__ = [
    "check_device",
    "check_optimizer",
    "check_writable",
    "mapping_from",
    "method_settings",
    "optimizer_settings",
    "prompt_settings",
    "read_spec",
    "read_yaml",
    "readout_settings",
    "record_from",
    "resolve",
    "spec_from",
    "strategy_settings",
    "with_absolute_paths",
    "with_changes",
    "with_method",
    "write_spec",
]
