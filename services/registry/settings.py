"""What the registry is started with."""

from __future__ import annotations

from pydantic import Field

from libs.common.settings import ServiceSettings

MIB = 1 << 20


class RegistrySettings(ServiceSettings):
    """Environment variables `CONSTELLATION_...`. Times in seconds."""

    git_limit_mib: int = Field(default=512, ge=1)
    """Most that one git request may carry."""
    source_limit_mib: int = Field(default=1024, ge=1)
    """Largest source that is built, unpacked: a commit with more in it fails its build."""
    git_seconds: float = Field(default=900.0, gt=0)
    """For one git request, from its first byte to its last."""
    git_processes: int = Field(default=16, ge=1)
    """Git requests served at once; further ones wait within their time."""
    git_processes_of_account: int = Field(default=4, ge=1)
    """Of those, the ones of one account."""
    compile_seconds: float = Field(default=900.0, gt=0)
    """How long `POST .../compile` waits for its build. The build itself goes on afterwards."""
    build_lease_seconds: float = Field(default=30.0, gt=0)
    """A build whose worker is silent for longer is given to another one."""
    build_attempts: int = Field(default=3, ge=1)
    """How many workers may be lost over one build before it fails."""
    build_timeout_seconds: float = Field(default=1800.0, gt=0)
    build_memory_mib: int = Field(default=4096, ge=256)
    build_log_limit_mib: int = Field(default=10, ge=1)
    """Most that is kept of one build's log."""
    blob_limit_mib: int = Field(default=16_384, ge=1)
    """Largest blob that a worker may upload: a layer of an image holds all packages of an algorithm."""
    image_lease_seconds: float = Field(default=30.0, gt=0)
    """An image whose worker is silent for longer is given to another one; a push of one too."""
    image_attempts: int = Field(default=3, ge=1)
    """How many workers may be lost over one image before it fails."""
    image_timeout_seconds: float = Field(default=1500.0, gt=0)
    """For making one image, or pushing it. A broker takes a job back that takes longer than it waits for (RabbitMQ:
    30 minutes)."""
    image_retry_seconds: float = Field(default=60.0, ge=0)
    """Pause before an image that failed is tried again for a launch that waits for it."""
    keep_calls_days: int = Field(default=7, ge=1)
    keep_audit_days: int = Field(default=365, ge=1)
    keep_usage_days: int = Field(default=400, ge=1)
    """How long it is known what was called at satellites apart from the platform, and who reported it."""
    satellite_stale_seconds: float = Field(default=300.0, gt=0)
    """A satellite's gateway that was not heard of for longer is shown as stale."""
    keep_removed_days: int = Field(default=30, ge=0)
    """How long the repository of a deleted algorithm stays on disk."""
