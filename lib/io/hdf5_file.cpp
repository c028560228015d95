// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <hdf5.h>
#include <unistd.h>
#include <utility>

#include "comm/mpi_handle.hpp"
#include "io/atomic_file.hpp"
#include "io/hdf5_inspect.hpp"
#include "io/hdf5_types.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMaxAttributeBytes = 32 * 1024;

struct OpenFailure {
  bool is_locked = false;  // another program holds the lock
  bool is_marked = false;  // the file itself is marked as open for writing
};

herr_t find_open_failure(unsigned, const H5E_error2_t* frame, void* data) {
  auto& failure = *static_cast<OpenFailure*>(data);
  const std::string_view text = frame->desc == nullptr ? "" : frame->desc;
  failure.is_locked = failure.is_locked || text.find("unable to lock file") != std::string_view::npos;
  failure.is_marked = failure.is_marked || text.find("h5clear") != std::string_view::npos;
  return 0;
}

/// Throws FileInUse when HDF5's error stack shows that the file could not be opened because a program writes to it.
void throw_if_in_use(const std::string& path) {
  OpenFailure failure;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, find_open_failure, &failure);
  if (failure.is_locked) {
    H5Eclear2(H5E_DEFAULT);
    throw FileInUse(
        "another program holds the file open for writing", path,
        "close it there, e.g. the notebook that opened it; only on a file system that cannot lock files, set "
        "HDF5_USE_FILE_LOCKING=FALSE");
  }
  if (failure.is_marked) {
    H5Eclear2(H5E_DEFAULT);
    throw FileInUse(
        "the file is marked as open for writing: another program writes to it, or was killed while it did", path,
        "close it there; if no program has it open, clear the mark with `h5clear -s FILE`, then verify the file");
  }
}

Hdf5Handle property_list(hid_t list_class, ErrorKind kind, const std::string& where) {
  return Hdf5Handle(H5Pcreate(list_class), kind, "making a property list", where);
}

Hdf5Handle access_list(const Hdf5FileOptions& options, const std::string& path) {
  prepare_hdf5();
  Hdf5Handle list = property_list(H5P_FILE_ACCESS, options.error_kind, path);
  // The 1.10 format has checksums on all metadata, and every later library reads it; LATEST would drift with the library.
  check_hdf5(H5Pset_libver_bounds(list.id(), H5F_LIBVER_V110, H5F_LIBVER_V110), options.error_kind,
             "choosing the file format", path);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(list.id(), 1, 1);  // file systems without locking are used without it
#endif
  if (options.ranks != nullptr && options.ranks->size() > 1) {
#ifdef H5_HAVE_PARALLEL
    check_hdf5(H5Pset_fapl_mpio(list.id(), mpi_comm_of(*options.ranks), MPI_INFO_NULL), options.error_kind,
               "opening through MPI-IO", path);
    H5Pset_all_coll_metadata_ops(list.id(), 1);
    H5Pset_coll_metadata_write(list.id(), 1);
#else
    throw_file_error(options.error_kind, "this HDF5 library is not parallel", path);
#endif
  }
  return list;
}

// Called before anything is opened, since opening a pipe would wait for its other end.
void require_regular(const std::filesystem::path& path, const Hdf5FileOptions& options) {
  std::error_code failure;
  const std::filesystem::file_status status = std::filesystem::status(path, failure);
  if (std::filesystem::is_regular_file(status)) return;
  if (status.type() == std::filesystem::file_type::not_found) {
    throw_file_error(options.error_kind, "no such file", path.string());
  }
  if (failure) throw_file_error(options.error_kind, failure.message(), path.string());
  const bool is_folder = std::filesystem::is_directory(status);
  throw_file_error(options.error_kind,
                   is_folder ? "is a folder, no HDF5 file" : "is a device, pipe or socket, no HDF5 file", path.string(),
                   options.advice);
}

// Checked here because HDF5 would report its whole error stack.
void require_openable(const std::filesystem::path& path, int flags, ErrorKind kind) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_errno(kind, "open", path, errno);
  ::close(descriptor);
}

}  // namespace

Hdf5File::Hdf5File(std::filesystem::path path, const Hdf5FileOptions& options)
    : path_(std::move(path)), kind_(options.error_kind) {
  if (options.ranks != nullptr) {
    rank_ = options.ranks->rank();
    num_ranks_ = options.ranks->size();
  }
}

Hdf5File Hdf5File::create(const std::filesystem::path& path, const Hdf5FileOptions& options) {
  Hdf5File file(path, options);
  const Hdf5Handle access = access_list(options, path.string());
  if (!file.is_collective()) require_openable(path, O_WRONLY | O_CREAT, options.error_kind);
  H5Pset_fclose_degree(access.id(),
                       H5F_CLOSE_SEMI);  // closing fails while a dataset is open, instead of being deferred
  file.handle_ = Hdf5Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), options.error_kind,
                            "creating the file", path.string());
  return file;
}

Hdf5File Hdf5File::open(const std::filesystem::path& path, const Hdf5FileOptions& options) {
  Hdf5File file(path, options);
  const Hdf5Handle access = access_list(options, path.string());
  require_regular(path, options);
  if (!file.is_collective()) require_openable(path, O_RDONLY, options.error_kind);
  if (!file.is_collective() && H5Fis_hdf5(path.c_str()) == 0) {
    throw_file_error(options.error_kind, "is no HDF5 file", path.string(), options.advice);
  }
  const hid_t opened = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id());
  if (opened < 0) throw_if_in_use(path.string());
  file.handle_ = Hdf5Handle(opened, options.error_kind, "opening the file", path.string());
  file.dataset_names();
  return file;
}

std::vector<std::string> Hdf5File::dataset_names() const {
  return list_plain_datasets(handle_.id(), kind_, path_.string());
}

Hdf5Dataset Hdf5File::create_dataset(const std::string& name, Hdf5Type type, const std::vector<std::int64_t>& extents,
                                     const Hdf5DatasetOptions& options) {
  ensure(!extents.empty() && extents.size() <= 8, "a dataset has 1 to 8 dimensions");
  ensure(options.chunk_rows > 0, "a chunk has at least one row");
  std::array<hsize_t, 8> now{}, most{}, chunk{};
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    now[axis] = most[axis] = chunk[axis] = static_cast<hsize_t>(extents[axis]);
  }
  chunk[0] = static_cast<hsize_t>(options.chunk_rows);
  ensure(!options.contiguous || (!options.unlimited_rows && options.deflate_level == 0),
         "a contiguous dataset neither grows nor is compressed");
  if (options.unlimited_rows || (now[0] == 0 && !options.contiguous)) {
    most[0] = H5S_UNLIMITED;
  } else {
    chunk[0] = std::min(chunk[0], now[0]);  // HDF5 rejects a chunk that is longer than a dataset of fixed extents
  }
  const int axes = static_cast<int>(extents.size());
  const std::string at = where(name);

  const Hdf5Handle space(H5Screate_simple(axes, now.data(), most.data()), kind_, "describing the extents", at);
  const Hdf5Handle properties = property_list(H5P_DATASET_CREATE, kind_, at);
  if (!options.contiguous) {
    check_hdf5(H5Pset_chunk(properties.id(), axes, chunk.data()), kind_, "choosing the chunk shape", at);
  }
  check_hdf5(H5Pset_fill_time(properties.id(), H5D_FILL_TIME_NEVER), kind_, "switching fill values off", at);
  H5Pset_obj_track_times(properties.id(), 0);  // so that equal content gives equal bytes
  if (options.deflate_level > 0) {
    check_hdf5(H5Pset_shuffle(properties.id()), kind_, "adding the shuffle filter", at);
    check_hdf5(H5Pset_deflate(properties.id(), static_cast<unsigned>(options.deflate_level)), kind_,
               "adding the deflate filter", at);
  }
  if (!options.contiguous) check_hdf5(H5Pset_fletcher32(properties.id()), kind_, "adding the checksum", at);
  const Hdf5Handle links = property_list(H5P_LINK_CREATE, kind_, at);
  H5Pset_create_intermediate_group(links.id(), 1);
  const Hdf5Handle access = property_list(H5P_DATASET_ACCESS, kind_, at);
  if (options.chunk_cache_bytes > 0) {
    check_hdf5(H5Pset_chunk_cache(access.id(), 521, options.chunk_cache_bytes, 1.0), kind_, "sizing the cache", at);
  }
  Hdf5Handle handle(H5Dcreate2(handle_.id(), name.c_str(), hdf5_file_type(type), space.id(), links.id(),
                               properties.id(), access.id()),
                    kind_, "creating the dataset", at);
  return Hdf5Dataset(std::move(handle), is_collective());
}

Hdf5Dataset Hdf5File::open_dataset(const std::string& name) const {
  if (!has(name)) throw_file_error(kind_, "there is no dataset of this name", where(name));
  return Hdf5Dataset(
      Hdf5Handle(H5Dopen2(handle_.id(), name.c_str(), H5P_DEFAULT), kind_, "opening the dataset", where(name)),
      is_collective());
}

bool Hdf5File::has(const std::string& name) const {
  // H5Lexists fails when an intermediate group is missing, so each part is checked in turn
  for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    if (H5Lexists(handle_.id(), name.substr(0, end).c_str(), H5P_DEFAULT) <= 0) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
    if (end == std::string::npos) return true;
  }
}

void Hdf5File::write_text(const std::string& name, std::string_view text) {
  const auto num_bytes = static_cast<std::int64_t>(text.size());
  Hdf5Dataset dataset = create_dataset(name, Hdf5Type::UInt8, {num_bytes}, {.chunk_rows = 1 << 20});
  const std::int64_t mine = rank_ == 0 ? num_bytes : 0;
  dataset.write<std::uint8_t>({0, mine}, {reinterpret_cast<const std::uint8_t*>(text.data()), std::size_t(mine)});
  dataset.flush();
  dataset.close();
}

std::string Hdf5File::read_text(const std::string& name) const {
  const Hdf5Dataset dataset = open_dataset(name);
  const auto bytes = dataset.read_all<std::uint8_t>();
  return {bytes.begin(), bytes.end()};
}

Hdf5Handle Hdf5File::open_object(const std::string& object) const {
  return Hdf5Handle(H5Oopen(handle_.id(), object.c_str(), H5P_DEFAULT), kind_, "opening", where(object));
}

void Hdf5File::write_attribute_value(const std::string& object, const std::string& name, Hdf5Id type,
                                     const void* value) {
  const std::string at = where(object) + "@" + name;
  const Hdf5Handle owner = open_object(object);
  const Hdf5Handle space(H5Screate(H5S_SCALAR), kind_, "describing the attribute", at);
  Hdf5Handle attribute(H5Acreate2(owner.id(), name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT), kind_,
                       "creating the attribute", at);
  check_hdf5(H5Awrite(attribute.id(), type, value), kind_, "writing the attribute", at);
  attribute.close();
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, const std::string& text) {
  ensure(text.size() <= kMaxAttributeBytes, "an attribute holds at most 32 KiB; longer text is a dataset");
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), kind_, "making a text type", where(object));
  H5Tset_size(type.id(), std::max<std::size_t>(text.size(), 1));
  H5Tset_strpad(type.id(), H5T_STR_NULLPAD);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  std::string padded = text;
  padded.resize(std::max<std::size_t>(text.size(), 1));
  write_attribute_value(object, name, type.id(), padded.data());
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, std::int64_t value) {
  write_attribute_value(object, name, H5T_NATIVE_INT64, &value);
}

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
  return H5Aexists_by_name(handle_.id(), object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

Hdf5Handle Hdf5File::open_attribute(const std::string& object, const std::string& name) const {
  const std::string at = where(object) + "@" + name;
  if (!has_attribute(object, name)) throw_file_error(kind_, "there is no attribute of this name", at);
  Hdf5Handle attribute(H5Aopen_by_name(handle_.id(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), kind_,
                       "opening the attribute", at);
  const Hdf5Handle space(H5Aget_space(attribute.id()), kind_, "reading the attribute", at);
  if (H5Sget_simple_extent_npoints(space.id()) != 1) throw_file_error(kind_, "the attribute is not one value", at);
  return attribute;
}

std::string Hdf5File::read_text_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Handle attribute = open_attribute(object, name);
  const Hdf5Handle type(H5Aget_type(attribute.id()), kind_, "reading the attribute", attribute.where());
  if (H5Tget_class(type.id()) != H5T_STRING) throw_file_error(kind_, "the attribute is not text", attribute.where());
  if (H5Tis_variable_str(type.id()) > 0) {
    char* value = nullptr;
    check_hdf5(H5Aread(attribute.id(), type.id(), &value), kind_, "reading the attribute", attribute.where());
    std::string text = value == nullptr ? "" : value;
    H5free_memory(value);
    return text;
  }
  std::string text(H5Tget_size(type.id()), '\0');
  if (text.size() > kMaxAttributeBytes) throw_file_error(kind_, "the attribute is too long", attribute.where());
  check_hdf5(H5Aread(attribute.id(), type.id(), text.data()), kind_, "reading the attribute", attribute.where());
  return text.substr(0, text.find('\0'));
}

std::int64_t Hdf5File::read_integer_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Handle attribute = open_attribute(object, name);
  const Hdf5Handle type(H5Aget_type(attribute.id()), kind_, "reading the attribute", attribute.where());
  if (H5Tget_class(type.id()) != H5T_INTEGER) {
    throw_file_error(kind_, "the attribute is not an integer", attribute.where());
  }
  std::int64_t value = 0;
  check_hdf5(H5Aread(attribute.id(), H5T_NATIVE_INT64, &value), kind_, "reading the attribute", attribute.where());
  return value;
}

void Hdf5File::flush() {
  check_hdf5(H5Fflush(handle_.id(), H5F_SCOPE_GLOBAL), kind_, "flushing the file", path_.string());
}

void Hdf5File::close() {
  if (!handle_) return;
  flush();
  handle_.close();
}

bool has_hdf5_format(const std::filesystem::path& path, std::string_view format) {
  try {
    const Hdf5File file = Hdf5File::open(path);
    return file.has_attribute("/", "format") && file.read_text_attribute("/", "format") == format;
  } catch (const FileInUse&) {
    throw;
  } catch (const DataError&) {
    return false;
  }
}

}  // namespace rondo
