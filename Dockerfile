# One image for client, scheduler and workers: the versions of requirements.lock, nothing else, not root.
#   docker build -t lensflow:dev .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml setup.py requirements.lock README.md LICENSE ./
COPY docs docs
COPY lensflow lensflow
# The lock constrains, the extra chooses: what tests and notebooks need stays out.
# Bytecode is compiled here: in a container whose file system is read-only, every process would do it again.
RUN python -m venv /opt/lensflow \
    && /opt/lensflow/bin/pip install --no-cache-dir --constraint requirements.lock ".[k8s,tls]" \
    && /opt/lensflow/bin/pip check \
    && /opt/lensflow/bin/pip uninstall --yes pip setuptools

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/lensflow /opt/lensflow
# One thread a worker, and freed memory kept for the next stamp: as local workers get it (lensflow/cluster/local.py).
ENV PATH=/opt/lensflow/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 \
    MALLOC_TRIM_THRESHOLD_=268435456 MALLOC_MMAP_THRESHOLD_=268435456
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin lensflow
USER 10001
WORKDIR /tmp
# No entrypoint: the Dask operator passes whole commands as arguments.
CMD ["lensflow", "--help"]
