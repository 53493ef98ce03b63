"""S3 with checked answers: see :mod:`lensflow.fits.checked`."""

from __future__ import annotations

from typing import Any

from s3fs import S3FileSystem

from lensflow.fits.checked import Answer


class CheckedS3FileSystem(S3FileSystem):
    """s3fs, with checked answers to ``cat_file`` and ``cat_ranges``."""

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        bucket, key, version = self.split_path(path)
        asked: dict[str, str] = {}
        if start is not None or end is not None:
            if start == end:
                return b""
            asked["Range"] = f"bytes={start or 0}-{'' if end is None else end - 1}"
        if version_id or version:
            asked["VersionId"] = version_id or version
        answer = await self._call_s3("get_object", Bucket=bucket, Key=key, **asked)
        async with answer["Body"] as body:
            content = await body.read()
        modified = answer.get("LastModified")
        headers = {
            "Content-Range": answer.get("ContentRange"),
            "ETag": answer.get("ETag"),
            "Last-Modified": None if modified is None else str(modified),
        }
        return Answer.of(content, start, end, answer["ResponseMetadata"]["HTTPStatusCode"], headers)
