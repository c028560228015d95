// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_types.hpp"

namespace rondo {

namespace {

/// IEEE 754 half precision, little-endian: HDF5 does not predefine it, but converts it like any other float. Never closed.
hid_t ieee_half() {
  static const hid_t type = [] {
    const hid_t half = H5Tcopy(H5T_IEEE_F32LE);
    const bool is_made = H5Tset_fields(half, /*sign=*/15, /*exponent=*/10, 5, /*mantissa=*/0, 10) >= 0 &&
                         H5Tset_size(half, 2) >= 0 && H5Tset_ebias(half, 15) >= 0;
    ensure(is_made, "HDF5 makes a type of half precision");
    return half;
  }();
  return type;
}

}  // namespace

std::size_t size_of(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::UInt8: return 1;
    case Hdf5Type::UInt16:
    case Hdf5Type::Fp16: return 2;
    case Hdf5Type::UInt32:
    case Hdf5Type::Int32:
    case Hdf5Type::Fp32: return 4;
    case Hdf5Type::UInt64:
    case Hdf5Type::Int64:
    case Hdf5Type::Fp64: return 8;
  }
  return 0;
}

std::string_view name_of(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::UInt8: return "uint8";
    case Hdf5Type::UInt16: return "uint16";
    case Hdf5Type::UInt32: return "uint32";
    case Hdf5Type::UInt64: return "uint64";
    case Hdf5Type::Int32: return "int32";
    case Hdf5Type::Int64: return "int64";
    case Hdf5Type::Fp16: return "fp16";
    case Hdf5Type::Fp32: return "fp32";
    case Hdf5Type::Fp64: return "fp64";
  }
  return "?";
}

hid_t hdf5_native_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::UInt8: return H5T_NATIVE_UINT8;
    case Hdf5Type::UInt16: return H5T_NATIVE_UINT16;
    case Hdf5Type::UInt32: return H5T_NATIVE_UINT32;
    case Hdf5Type::UInt64: return H5T_NATIVE_UINT64;
    case Hdf5Type::Int32: return H5T_NATIVE_INT32;
    case Hdf5Type::Int64: return H5T_NATIVE_INT64;
    case Hdf5Type::Fp16: return ieee_half();
    case Hdf5Type::Fp32: return H5T_NATIVE_FLOAT;
    case Hdf5Type::Fp64: return H5T_NATIVE_DOUBLE;
  }
  return -1;
}

hid_t hdf5_file_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::UInt8: return H5T_STD_U8LE;
    case Hdf5Type::UInt16: return H5T_STD_U16LE;
    case Hdf5Type::UInt32: return H5T_STD_U32LE;
    case Hdf5Type::UInt64: return H5T_STD_U64LE;
    case Hdf5Type::Int32: return H5T_STD_I32LE;
    case Hdf5Type::Int64: return H5T_STD_I64LE;
    case Hdf5Type::Fp16: return ieee_half();
    case Hdf5Type::Fp32: return H5T_IEEE_F32LE;
    case Hdf5Type::Fp64: return H5T_IEEE_F64LE;
  }
  return -1;
}

std::optional<Hdf5Type> hdf5_type_in_file(hid_t type) {
  using enum Hdf5Type;
  for (Hdf5Type known : {UInt8, UInt16, UInt32, UInt64, Int32, Int64, Fp16, Fp32, Fp64}) {
    if (H5Tequal(type, hdf5_file_type(known)) > 0 || H5Tequal(type, hdf5_native_type(known)) > 0) return known;
  }
  return std::nullopt;
}

std::string describe_hdf5_type(hid_t type) {
  const H5T_class_t kind = H5Tget_class(type);
  const std::string word = kind == H5T_FLOAT      ? "floating-point numbers"
                           : kind == H5T_INTEGER  ? "integers"
                           : kind == H5T_STRING   ? "text"
                           : kind == H5T_COMPOUND ? "records, as complex numbers are,"
                                                  : "elements of another kind";
  const bool is_number = kind == H5T_FLOAT || kind == H5T_INTEGER;
  const std::string order = is_number && H5Tget_order(type) == H5T_ORDER_BE ? "big-endian " : "";
  return order + word + " of " + std::to_string(H5Tget_size(type)) + " bytes";
}

}  // namespace rondo
