#!/usr/bin/env bash
# An EMR step: fetch environment and config, run one lensflow command, end with its exit code
# (3: a gate did not pass; EMR shows the step as failed, the results are there). `run`, the default, goes to YARN
# whatever the config's cluster.kind; `doctor` and other commands go where the config says.
#
#   step.sh s3://BUCKET/PREFIX CONFIG [COMMAND]
#
# Reads PREFIX/environment.tar.gz and PREFIX/CONFIG. Credentials are the instance profile's.
set -euo pipefail
prefix=${1:?usage: step.sh s3://BUCKET/PREFIX CONFIG [COMMAND]}
config=${2:?usage: step.sh s3://BUCKET/PREFIX CONFIG [COMMAND]}
command=${3:-run}
work=${LENSFLOW_WORK:-/mnt/lensflow}

mkdir -p "$work/environment"
aws s3 cp --only-show-errors "$prefix/environment.tar.gz" "$work/environment.tar.gz"
aws s3 cp --only-show-errors "$prefix/$config" "$work/run.yaml"
tar -xzf "$work/environment.tar.gz" -C "$work/environment"

# The archive itself goes to the containers (by HDFS); client and workers run the same code, and check that they do.
export DASK_YARN__ENVIRONMENT="$work/environment.tar.gz"
# Configs may say ${LENSFLOW_BUCKET}.
bucket=${prefix#s3://}
export LENSFLOW_BUCKET=${bucket%%/*}
# On this node only: watch it through a tunnel (docs/deploy-emr.md).
export DASK_YARN__DASHBOARD_ADDRESS=127.0.0.1:8787
# Several spot nodes may go under the same region; it is done elsewhere each time.
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=20
cd "$work"
options=()
[ "$command" != run ] || options=(--cluster yarn)
exec environment/bin/python -m lensflow "$command" run.yaml "${options[@]}"
