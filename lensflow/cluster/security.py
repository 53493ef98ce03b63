"""TLS between client, scheduler and workers. Every peer has a certificate signed by the cluster's own CA."""

from __future__ import annotations

from pathlib import Path

import dask
from distributed.security import Security

from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError

_SETTINGS = {"tls_ca_file": "ca-file", "tls_cert": "client.cert", "tls_key": "client.key"}


def client_security(config: ClusterConfig) -> Security:
    """TLS files of this client, from the config or from Dask's own settings (``DASK_DISTRIBUTED__COMM__TLS__...``).

    Raises
    ------
    ClusterError
        If a file is not configured or cannot be read.
    """
    files = {
        name: getattr(config, name) or dask.config.get(f"distributed.comm.tls.{setting}", None)
        for name, setting in _SETTINGS.items()
    }
    for name, path in files.items():
        if path is None:
            raise ClusterError(
                f"cluster.{name}: an encrypted scheduler needs the CA's certificate and this client's own. Set "
                "cluster.tls_ca_file, tls_cert and tls_key, or Dask's distributed.comm.tls settings; "
                "deploy/make-tls.sh makes such files."
            )
        _check_readable(name, path)
    return Security(
        tls_ca_file=files["tls_ca_file"],
        tls_client_cert=files["tls_cert"],
        tls_client_key=files["tls_key"],
        require_encryption=True,
    )


def _check_readable(name: str, path: str) -> None:
    try:
        pem = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"cluster.{name}: cannot read {path} ({error})") from error
    if "-----BEGIN " not in pem:
        raise ClusterError(f"cluster.{name}: {path} is not a PEM file")


def temporary_security() -> Security:
    """Certificates for this session, in memory only.

    Raises
    ------
    ClusterError
        If the ``cryptography`` package, which makes them, is not installed.
    """
    try:
        return Security.temporary()
    except ImportError as error:
        raise ClusterError(
            "cluster.tls: certificates are made with the cryptography package, which is not installed. "
            "Run: pip install 'lensflow[tls]'"
        ) from error
