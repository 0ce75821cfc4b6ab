"""Settings of the images service, under the names imgproxy and the storage server use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfbase.kit.settings import MiB, Secret, setting


@dataclass(frozen=True, kw_only=True)
class ImagesSettings:
    """Limits against hostile input first; every one of them has a test that reaches it."""

    source_megapixels_max: float = setting(
        50.0,
        env="IMGPROXY_MAX_SRC_RESOLUTION",
        help="Largest source image, all frames together.",
        unit="megapixels",
    )
    frame_megapixels_max: float = setting(
        0.0,
        env="IMGPROXY_MAX_ANIMATION_FRAME_RESOLUTION",
        help="Largest single frame of an animation; 0 leaves only the limit on all frames.",
        unit="megapixels",
    )
    source_bytes_max: int = setting(
        25 * MiB, env="IMGPROXY_MAX_SRC_FILE_SIZE", help="Largest source file.", unit="bytes"
    )
    frames_max: int = setting(
        60, env="IMGPROXY_MAX_ANIMATION_FRAMES", help="Frames read of an animation; 1 reads stills."
    )
    result_side_max: int = setting(
        8192,
        env="IMGPROXY_MAX_RESULT_DIMENSION",
        help="Largest side of a result; larger ones are scaled down.",
        unit="pixels",
    )
    timeout_s: float = setting(
        10.0,
        env=("IMGPROXY_TIMEOUT", "IMGPROXY_WRITE_TIMEOUT"),
        help="Time for one transformation.",
    )
    download_timeout_s: float = setting(
        5.0, env="IMGPROXY_DOWNLOAD_TIMEOUT", help="Time to fetch one source."
    )
    workers: int = setting(
        0, env=("IMGPROXY_WORKERS", "IMGPROXY_CONCURRENCY"), help="Threads; 0 is one per processor."
    )
    queue_max: int = setting(
        64, env="IMGPROXY_REQUESTS_QUEUE_SIZE", help="Transformations that may wait for a thread."
    )

    cache_bytes_max: int = setting(
        256 * MiB, help="Disk taken by finished images; 0 keeps none.", unit="bytes"
    )
    cache_dir: Path | None = setting(None, help="Where finished images are kept.")

    auto_webp: bool = setting(
        True,
        env=("IMGPROXY_AUTO_WEBP", "IMGPROXY_ENABLE_WEBP_DETECTION"),
        help="Answers WebP to clients that accept it.",
    )
    auto_avif: bool = setting(
        False,
        env=("IMGPROXY_AUTO_AVIF", "IMGPROXY_ENABLE_AVIF_DETECTION"),
        help="Answers AVIF to clients that accept it: smaller, and slower to make.",
    )
    quality: int = setting(80, env="IMGPROXY_QUALITY", help="Quality of formats without their own.")
    format_quality: str = setting(
        "webp=79,avif=63",
        env="IMGPROXY_FORMAT_QUALITY",
        help="Quality by format, as jpeg=80,webp=79.",
    )
    avif_speed: int = setting(8, env="IMGPROXY_AVIF_SPEED", help="0 small and slow, 9 fast.")
    strip_metadata: bool = setting(
        True, env="IMGPROXY_STRIP_METADATA", help="Drops EXIF, XMP, IPTC."
    )
    keep_copyright: bool = setting(
        True,
        env="IMGPROXY_KEEP_COPYRIGHT",
        help="Keeps copyright and artist when dropping the rest.",
    )
    strip_color_profile: bool = setting(
        True, env="IMGPROXY_STRIP_COLOR_PROFILE", help="Converts to sRGB and drops the profile."
    )
    auto_rotate: bool = setting(
        True, env="IMGPROXY_AUTO_ROTATE", help="Turns the image as its EXIF orientation says."
    )

    key: Secret = setting(
        Secret(""), env="IMGPROXY_KEY", secret=True, help="Hex keys of URL signatures, by commas."
    )
    salt: Secret = setting(
        Secret(""), env="IMGPROXY_SALT", secret=True, help="Hex salts, one for each key."
    )
    signature_bytes: int = setting(
        32, env="IMGPROXY_SIGNATURE_SIZE", help="Bytes of the signature that are compared."
    )
    trusted_signatures: tuple[str, ...] = setting(
        (), env="IMGPROXY_TRUSTED_SIGNATURES", help="Signature texts accepted without a check."
    )
    bearer_secret: Secret = setting(
        Secret(""), env="IMGPROXY_SECRET", secret=True, help="Bearer token asked of each request."
    )
    path_prefix: str = setting("", env="IMGPROXY_PATH_PREFIX", help="Prefix of all paths.")
    presets: tuple[str, ...] = setting(
        (), env="IMGPROXY_PRESETS", help="Named options, as name=resize:fill:10:10/quality:50."
    )
    allow_security_options: bool = setting(
        False,
        env="IMGPROXY_ALLOW_SECURITY_OPTIONS",
        help="Lets URLs raise the limits on sources; they may always lower them.",
    )
    base_url: str = setting("", env="IMGPROXY_BASE_URL", help="Put before source URLs without it.")
    local_root: Path | None = setting(
        None, env="IMGPROXY_LOCAL_FILESYSTEM_ROOT", help="Folder that local:// sources come from."
    )
    allowed_sources: tuple[str, ...] = setting(
        (),
        env="IMGPROXY_ALLOWED_SOURCES",
        help="Prefixes of source URLs that may be fetched; * stands for any text up to a slash.",
    )
    allow_loopback: bool = setting(
        False, env="IMGPROXY_ALLOW_LOOPBACK_SOURCE_ADDRESSES", help="Fetches from this machine."
    )
    allow_link_local: bool = setting(
        False, env="IMGPROXY_ALLOW_LINK_LOCAL_SOURCE_ADDRESSES", help="Fetches from link-local."
    )
    allow_private: bool = setting(
        False, env="IMGPROXY_ALLOW_PRIVATE_SOURCE_ADDRESSES", help="Fetches from private networks."
    )
    ttl_s: int = setting(
        31_536_000, env="IMGPROXY_TTL", help="Cache-Control max-age of processed images.", unit="s"
    )
    watermark_path: Path | None = setting(
        None, env="IMGPROXY_WATERMARK_PATH", help="Image that the watermark option lays over."
    )
    watermark_opacity: float = setting(
        1.0, env="IMGPROXY_WATERMARK_OPACITY", help="Multiplies the opacity asked for."
    )
