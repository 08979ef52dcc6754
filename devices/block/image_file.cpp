#include "devices/block/image_file.hpp"

#include "devices/block/image_lock.hpp"

namespace pinfold::devices::block {

ImageFile::~ImageFile() { unlock_image(fd_.get()); }

}  // namespace pinfold::devices::block
