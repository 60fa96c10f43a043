#!/usr/bin/env bash
# Fine-tunes the champion on the team's data, and promotes the result if driving improved and no domain regressed.
#
# Settings are arguments of the script; all stages but the first read them from the run folder. Paths must be
# absolute. Models are evaluated on simulated domains and on footage that is never trained on: the held-out
# scenes of data.root, or FOOTAGE. In crontab:
#
#   0 1 * * * /opt/driveforge/examples/nightly.sh data=nuscenes data.root=/data/nuscenes data.version=v1.0-trainval
#
# Exit status 0: promoted; 1: refused, with the domain, the metric and the change; anything else: interrupted or failed.
# To resume an interrupted night, give its run folder: RUN=runs/2026-01-31 examples/nightly.sh ...
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

# Set once, so that a run past midnight keeps its folder.
RUN=${RUN:-runs/$(date +%F)}
FOOTAGE=${FOOTAGE:-$(printf '%s\n' "$@" | sed -n 's/^data\.root=//p' | tail -n 1)}
: "${FOOTAGE:?give data.root=DIR, or FOOTAGE=DIR}"

# Evaluate the earlier models first, so that an evaluation error is reported before hours of training.
driveforge evaluate champion-or-base model.checkpoint=champion-or-base \
  "evaluate.footage=[$FOOTAGE]" "evaluate.domains=[orbit, handheld, falling, walkers]" evaluate.clips_per_domain=24 \
  "$@" "run_dir=$RUN"
driveforge evaluate base "run_dir=$RUN"
driveforge finetune "run_dir=$RUN"
driveforge evaluate "run_dir=$RUN"
driveforge promote "run_dir=$RUN"
