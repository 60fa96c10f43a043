#!/bin/sh
# Takes a pass on a Ray cluster: ray_job.sh http://HEAD:8265 data=nuscenes data.root=/data/nuscenes run_dir=/data/nights
#
# driveforge must be installed on all nodes, and run_dir must be on a file system that they share, with locks. The pass
# runs on the head node and generates on all of them. The exit status is 0 only if the status of the pass is 0;
# `ray job logs` shows it. In crontab, with the PATH of the environment:
#
#   0 1 * * * /opt/driveforge/examples/nightly/ray_job.sh http://HEAD:8265 data=nuscenes ... >>/data/nights.log 2>&1
set -eu
address=$1
shift
# One name a minute; passes at the same time exclude each other by the lock in run_dir.
exec ray job submit --address "$address" --submission-id "driveforge-nightly-$(date +%F-%H%M)" -- \
  driveforge nightly executor=ray executor.address=auto "$@"
