# docker buildx bake                 serverless and compute
# docker buildx bake check           prove that every node imports
# docker buildx bake baked           needs models.env (MODELS_BUCKET=… and its keys); stays on this machine by default
# VERSION=1.2.0 REGISTRY=ghcr.io/you NODES=video,splats docker buildx bake --push
# Run it from the repository's root with `--file worker-gpu/docker-bake.hcl`. No target asks for attestations: Docker's default driver
# refuses them before Docker 29 (and there on the classic image store). What is published gets them from .github/workflows/image.yml.

variable "REGISTRY" {
  default = "local"
}

variable "VERSION" {
  default = "dev"
}

# What the image says of itself; a candidate's tag is not its version.
variable "IMAGE_VERSION" {
  default = "${VERSION}"
}

# Presets of image/presets.toml: a list, "all", or "" for none.
variable "NODES" {
  default = "video"
}

# The group of the manifest that `baked` has inside.
variable "MODELS_GROUP" {
  default = "boot"
}

variable "REVISION" {
  default = ""
}

group "default" {
  targets = ["serverless", "compute"]
}

group "published" {
  targets = ["serverless", "slim", "compute"]
}

target "_image" {
  context    = "."
  dockerfile = "worker-gpu/Dockerfile"
  # RunPod's machines are of this kind only; the Dockerfile refuses every other.
  platforms = ["linux/amd64"]
  args = {
    NODES         = NODES
    IMAGE_VERSION = IMAGE_VERSION
  }
  labels = {
    "org.opencontainers.image.title"    = "comfy-edge worker-gpu"
    "org.opencontainers.image.version"  = IMAGE_VERSION
    "org.opencontainers.image.revision" = REVISION
    "org.opencontainers.image.licenses" = "MIT AND GPL-3.0-only"
  }
}

target "serverless" {
  inherits = ["_image"]
  target   = "serverless"
  tags     = ["${REGISTRY}/worker-gpu:${VERSION}"]
}

target "slim" {
  inherits = ["serverless"]
  args = {
    NODES = ""
  }
  tags = ["${REGISTRY}/worker-gpu:${VERSION}-slim"]
}

target "compute" {
  inherits = ["_image"]
  target   = "compute"
  tags     = ["${REGISTRY}/worker-gpu:${VERSION}-compute"]
}

target "baked" {
  inherits = ["_image"]
  target   = "baked"
  args = {
    MODELS_GROUP = MODELS_GROUP
  }
  secret = ["type=file,id=models,src=models.env"]
  # What is in the bucket, and even which bucket it is, is no part of the cache's key: the models are pulled each time.
  no-cache-filter = ["baked"]
  tags            = ["${REGISTRY}/worker-gpu:${VERSION}-baked"]
}

target "check" {
  inherits = ["_image"]
  target   = "check"
  args = {
    NODES = "all"
  }
  output = ["type=cacheonly"]
}
