"""Fetches or makes the images that other tests boot. CTest runs this before them."""
from harness.images import Images


def test_images_are_there(images: Images) -> None:
    for image in (images.kernel, images.cloud_kernel, images.initrd):
        assert image.stat().st_size > 0, image
