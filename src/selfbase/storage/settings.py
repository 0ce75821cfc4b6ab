"""Settings of the storage service, under the names the reference server and the CLI use.

Source: reference/storage.md section 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfbase.kit.settings import GiB, MiB, Secret, setting


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Everything an operator can choose.  Sizes are bytes."""

    enabled: bool = setting(True, toml="storage.enabled", help="Serve files at all.")

    # Where bytes lie
    backend: str = setting(
        "file",
        env="STORAGE_BACKEND",
        choices=("file", "s3"),
        help="Local disk, or an object store.",
    )
    file_path: str | None = setting(
        None,
        env=("STORAGE_FILE_BACKEND_PATH", "FILE_STORAGE_BACKEND_PATH"),
        help="Folder of the file backend; default: `storage` in the project's data folder.",
    )
    file_sync: bool = setting(
        True, help="Wait until the disk has the bytes before an upload is acknowledged."
    )
    object_store_url: str | None = setting(
        None, help="Any object store by URL (s3://, gs://, az://) instead of the S3 settings below."
    )
    s3_bucket: str = setting(
        "storage",
        env=("STORAGE_S3_BUCKET", "GLOBAL_S3_BUCKET"),
        help="Bucket of the S3 backend that holds everything.",
    )
    s3_endpoint: str | None = setting(
        None, env=("STORAGE_S3_ENDPOINT", "GLOBAL_S3_ENDPOINT"), help="Endpoint of the S3 backend."
    )
    s3_force_path_style: bool = setting(
        True,
        env=("STORAGE_S3_FORCE_PATH_STYLE", "GLOBAL_S3_FORCE_PATH_STYLE"),
        help="Address buckets by path instead of by host name.",
    )
    s3_region: str = setting(
        "us-east-1",
        env=("STORAGE_S3_REGION", "REGION"),
        help="Region of the S3 backend and endpoint.",
    )
    s3_part_bytes: int = setting(
        8 * MiB, env="STORAGE_S3_UPLOAD_PART_SIZE", help="Part size of uploads to the S3 backend."
    )
    s3_queue: int = setting(
        2,
        env="STORAGE_S3_UPLOAD_QUEUE_SIZE",
        help="Parts of one upload in flight to the S3 backend.",
    )
    s3_timeout_s: float = setting(
        30.0,
        help="How long the object store may be silent, and how long failed requests are retried.",
        unit="s",
    )
    s3_connect_timeout_s: float = setting(
        5.0, help="Time to connect to the object store.", unit="s"
    )
    s3_retries: int = setting(
        3, help="Further tries of a request that the object store failed (5xx, connection lost)."
    )
    aws_access_key_id: str | None = setting(
        None, env="AWS_ACCESS_KEY_ID", help="For the S3 backend."
    )
    aws_secret_access_key: Secret | None = setting(
        None, env="AWS_SECRET_ACCESS_KEY", help="For the S3 backend.", secret=True
    )
    tenant_id: str | None = setting(
        None,
        env=("TENANT_ID", "PROJECT_REF"),
        help="Folder of this project in the object store; default: the project's ref.",
    )

    # Uploads
    file_size_limit: int = setting(
        50 * MiB,
        env=("UPLOAD_FILE_SIZE_LIMIT", "FILE_SIZE_LIMIT"),
        toml="storage.file_size_limit",
        help="Largest object of any bucket.",
    )
    file_size_limit_standard: int = setting(
        0,
        env=("UPLOAD_FILE_SIZE_LIMIT_STANDARD", "FILE_SIZE_LIMIT_STANDARD_UPLOAD"),
        help="Largest object of a plain upload; 0: as all others.",
    )
    signed_upload_expiry_s: int = setting(
        7200,
        env=("UPLOAD_SIGNED_URL_EXPIRATION_TIME", "SIGNED_UPLOAD_URL_EXPIRATION_TIME"),
        help="How long a signed upload URL works.",
        unit="s",
    )
    empty_bucket_max: int = setting(
        200_000, env="STORAGE_EMPTY_BUCKET_MAX", help="Most objects that one call may empty."
    )
    hard_limits: bool = setting(
        False, env="REQUEST_HARD_LIMITS_ENABLED", help="At most 1,000 keys in a delete request."
    )
    unicode_keys: bool = setting(
        True, help="Accept object names in any script; off: the reference server's ASCII set."
    )
    html_as_text: bool = setting(
        True, help="Serve text/html as text/plain, so that nobody can host pages in a bucket."
    )

    # Resumable uploads
    tus_url_path: str = setting("/upload/resumable", env="TUS_URL_PATH", help="Path in Location.")
    tus_url_expiry_ms: int = setting(
        24 * 3600 * 1000,
        env="TUS_URL_EXPIRY_MS",
        help="How long an upload can be resumed.",
        unit="ms",
    )
    tus_part_mb: int = setting(
        50, env="TUS_PART_SIZE", help="Progress of a long request is recorded every so many MB."
    )
    tus_uploads_max: int = setting(
        500, env="TUS_MAX_CONCURRENT_UPLOADS", help="Resumable requests at work at the same time."
    )
    tus_lock_wait_s: float = setting(
        5.0, help="How long a request waits for another one on the same upload.", unit="s"
    )

    # S3 protocol
    s3_protocol_enabled: bool = setting(
        True,
        env="S3_PROTOCOL_ENABLED",
        toml="storage.s3_protocol.enabled",
        help="Offer the S3 protocol at /s3.",
    )
    s3_protocol_prefix: str = setting(
        "", env="S3_PROTOCOL_PREFIX", help="Path in front of /s3 that clients sign."
    )
    s3_protocol_enforce_region: bool = setting(
        False, env="S3_PROTOCOL_ENFORCE_REGION", help="Refuse signatures for another region."
    )
    s3_protocol_access_key_id: str | None = setting(
        None, env="S3_PROTOCOL_ACCESS_KEY_ID", help="Access key; default: the project's own."
    )
    s3_protocol_access_key_secret: Secret | None = setting(
        None,
        env="S3_PROTOCOL_ACCESS_KEY_SECRET",
        help="Its secret; default: the project's own.",
        secret=True,
    )
    s3_upload_expiry_s: float = setting(
        7 * 24 * 3600.0,
        help="How long a multipart upload may rest before it is aborted; 0: for ever.",
        unit="s",
    )

    # URLs and caching
    public_url: str | None = setting(
        None,
        env="STORAGE_PUBLIC_URL",
        help="Public address of the service; default: as the client addressed it.",
    )
    etag_header: str = setting(
        "if-none-match", env="REQUEST_ETAG_HEADERS", help="Header by which an edge sends its ETag."
    )
    response_s_maxage: int = setting(
        0, env="RESPONSE_S_MAXAGE", help="s-maxage added to Cache-Control of downloads.", unit="s"
    )
    cdn_purge_url: str | None = setting(
        None, env="CDN_PURGE_ENDPOINT_URL", help="Service that purges the CDN in front."
    )
    cdn_purge_key: Secret | None = setting(
        None, env="CDN_PURGE_ENDPOINT_KEY", help="Its key.", secret=True
    )

    # Images
    image_transformation: bool = setting(
        True,
        env=("IMAGE_TRANSFORMATION_ENABLED", "ENABLE_IMAGE_TRANSFORMATION"),
        toml="storage.image_transformation.enabled",
        help="Offer the render endpoints.",
    )
    image_size_min: int = setting(
        1, env="IMAGE_TRANSFORMATION_LIMIT_MIN_SIZE", help="Smallest width or height."
    )
    image_size_max: int = setting(
        2000, env="IMAGE_TRANSFORMATION_LIMIT_MAX_SIZE", help="Largest width or height."
    )

    # Collector
    collect_every_s: float = setting(
        24 * 3600.0,
        help="How often bytes that belong to no object are removed; 0: never.",
        unit="s",
    )
    collect_grace_s: float = setting(
        24 * 3600.0, help="How old such bytes must be before they are removed.", unit="s"
    )

    # Database
    statement_timeout_ms: int = setting(
        30_000, env="DATABASE_STATEMENT_TIMEOUT", help="Time for one statement.", unit="ms"
    )
    search_path: str = setting(
        "storage,public,extensions", env="DATABASE_SEARCH_PATH", help="Search path of policies."
    )

    buckets: Mapping[str, Any] = setting(
        factory=dict, toml="storage.buckets", help="Buckets made at start, with their files."
    )

    @property
    def s3_part_bytes_max(self) -> int:
        """Largest part of an S3 multipart upload."""
        return 5 * GiB
