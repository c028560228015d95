// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_inspect.hpp"

#include <algorithm>
#include <hdf5.h>
#include <utility>

namespace rondo {

namespace {

constexpr std::size_t kMaxObjects = 1'000'000;
constexpr std::size_t kMaxNameBytes = 1024;

struct Visit {
  std::vector<std::string> names;  // of every hard link found
  std::string refusal;             // why the file is refused; exceptions must not cross HDF5's C frames
};

herr_t visit_link(hid_t, const char* name, const H5L_info_t* info, void* data) noexcept {
  auto& visit = *static_cast<Visit*>(data);
  const std::string link = std::string(name).substr(0, kMaxNameBytes);
  if (info->type == H5L_TYPE_EXTERNAL) {
    visit.refusal = "'" + link + "' is a link to another file";
  } else if (info->type != H5L_TYPE_HARD) {
    visit.refusal = "'" + link + "' is a soft or user-defined link";
  } else if (visit.names.size() >= kMaxObjects || link.size() >= kMaxNameBytes) {
    visit.refusal = "there are too many objects, or names of more than 1023 bytes";
  } else {
    visit.names.push_back(link);
  }
  return visit.refusal.empty() ? 0 : 1;
}

/// @returns why the dataset is refused, or nothing
std::string refusal_of_dataset(hid_t dataset, ErrorKind kind, const std::string& where) {
  const Hdf5Handle properties(H5Dget_create_plist(dataset), kind, "reading the layout", where);
  const H5D_layout_t layout = H5Pget_layout(properties.id());
  if (layout == H5D_VIRTUAL) return "it is a virtual dataset, made of other files";
  if (layout != H5D_CHUNKED && layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) return "its layout is unknown";
  if (H5Pget_external_count(properties.id()) != 0) return "its values lie in another file";
  const int num_filters = H5Pget_nfilters(properties.id());
  if (num_filters < 0 || num_filters > 8) return "its filters cannot be read";
  for (int index = 0; index < num_filters; ++index) {
    unsigned flags = 0, config = 0;
    std::size_t num_values = 0;
    char name[64] = {};
    const H5Z_filter_t filter = H5Pget_filter2(properties.id(), static_cast<unsigned>(index), &flags, &num_values,
                                               nullptr, sizeof(name), name, &config);
    if (filter != H5Z_FILTER_FLETCHER32 && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_DEFLATE) {
      return "it needs filter " + std::to_string(filter) + "; only shuffle, deflate and Fletcher32 are read";
    }
  }
  const Hdf5Handle type(H5Dget_type(dataset), kind, "reading the element type", where);
  const H5T_class_t element = H5Tget_class(type.id());
  if (element == H5T_VLEN || element == H5T_REFERENCE || H5Tis_variable_str(type.id()) > 0) {
    return "its elements are references or of variable length";
  }
  return {};
}

}  // namespace

std::vector<std::string> list_plain_datasets(Hdf5Id file, ErrorKind kind, const std::string& path) {
  const std::string advice = "Only files that stand alone are opened; copy the values into one with h5repack or h5py.";
  Visit visit;
  check_hdf5(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_link, &visit), kind, "listing the file", path);
  if (!visit.refusal.empty()) throw_file_error(kind, visit.refusal, path, advice);
  std::vector<std::string> datasets;
  for (const std::string& name : visit.names) {
    const std::string where = path + ":" + name;
    const Hdf5Handle object(H5Oopen(file, name.c_str(), H5P_DEFAULT), kind, "opening", where);
    const H5I_type_t what = H5Iget_type(object.id());
    if (what == H5I_GROUP) continue;
    if (what != H5I_DATASET) throw_file_error(kind, "it is neither a group nor a dataset", where, advice);
    const std::string refusal = refusal_of_dataset(object.id(), kind, where);
    if (!refusal.empty()) throw_file_error(kind, refusal, where, advice);
    datasets.push_back(name);
  }
  std::sort(datasets.begin(), datasets.end());
  return datasets;
}

}  // namespace rondo
