#!/usr/bin/env bash
# Fine-tunes the champion on the team's data, and promotes the result if driving improved and nothing was forgotten.
#
# The settings are given once, behind the script; all stages but the first read them from the run folder. Paths are given
# in full. What the models are held against, beside simulated domains, is footage that no training sees: the held-out
# scenes of data.root, or FOOTAGE. In crontab:
#
#   0 1 * * * /opt/driveforge/examples/nightly.sh data=nuscenes data.root=/data/nuscenes data.version=v1.0-trainval
#
# Exit status 0: promoted; 1: refused, with which domain, which measure and by how much; anything else: it did not end.
# A night that was cut short is finished by giving its folder: RUN=runs/2026-01-31 examples/nightly.sh ...
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

# Named once, so that a night that passes midnight stays in one folder.
RUN=${RUN:-runs/$(date +%F)}
FOOTAGE=${FOOTAGE:-$(printf '%s\n' "$@" | sed -n 's/^data\.root=//p' | tail -n 1)}
: "${FOOTAGE:?give data.root=DIR, or FOOTAGE=DIR}"

# What earlier models can do is measured first: if that cannot be, no hours of training are spent.
driveforge evaluate champion-or-base model.checkpoint=champion-or-base \
  "evaluate.footage=[$FOOTAGE]" "evaluate.domains=[orbit, handheld, falling, walkers]" evaluate.clips_per_domain=24 \
  "$@" "run_dir=$RUN"
driveforge evaluate base "run_dir=$RUN"
driveforge finetune "run_dir=$RUN"
driveforge evaluate "run_dir=$RUN"
driveforge promote "run_dir=$RUN"
