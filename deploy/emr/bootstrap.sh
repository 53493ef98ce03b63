#!/usr/bin/env bash
# Bootstrap action of every node (EMR 7, Amazon Linux 2023): the Python that the environment archive was made with.
set -euo pipefail
sudo dnf install -y -q python3.11
python3.11 --version
