"""What can go wrong with an image, in the words of Storage and in the words of imgproxy.

`message` and `status` are Storage's; `public_text` and `public_status` are what the processing
endpoint answers.  Source: reference/storage.md section 6.1; imgproxy 4 error texts.
"""

from __future__ import annotations

from selfbase.kit.failures import Failure


class ImageFailure(Failure):
    """Base of the table below."""

    code = "InvalidRequest"
    status = 400
    message = "Invalid image request"
    public_status = 422
    public_text = "Invalid source image"


class InvalidProcessingUrl(ImageFailure):
    """A processing URL that cannot be understood.  Details stay inside: the URL may be a guess."""

    public_status = 404
    public_text = "Invalid URL"


class ForbiddenUrl(ImageFailure):
    """No valid signature, no valid bearer secret, or a source that is not allowed."""

    status = 403
    message = "Image transformation request was rejected"
    public_status = 403
    public_text = "Forbidden"


class SourceUnsupported(ImageFailure):
    message = "The source image is invalid or unsupported for rendering"
    public_text = "Broken or unsupported image"


class SourceResolutionTooLarge(ImageFailure):
    message = "The source image resolution is too large to process"
    public_text = "Source image resolution is too big"


class FrameResolutionTooLarge(ImageFailure):
    message = "The source image frame resolution is too large to process"
    public_text = "Source image frame resolution is too big"


class SourceTooLarge(ImageFailure):
    message = "The source image file is too large to process"
    public_text = "Source image file is too big"


class ResultTooLarge(ImageFailure):
    """The transformation would make an image with more pixels than we are willing to make."""

    public_text = "Resulting image is too big"


class SourceUnreachable(ImageFailure):
    message = "Unable to download source image"
    public_status = 404
    public_text = "Source image is unreachable"


class RenderTimedOut(ImageFailure):
    status = 408
    message = "Image request timed out"
    public_status = 503
    public_text = "Timeout"


class TooManyRenders(ImageFailure):
    code = "SlowDown"
    status = 429
    message = "Too many requests"
    public_status = 429
    public_text = "Too many requests"

    def __init__(self) -> None:
        super().__init__(headers=(("retry-after", "1"),))
