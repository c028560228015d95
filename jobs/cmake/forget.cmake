# SPDX-License-Identifier: Apache-2.0
# A search that fails leaves nothing in the cache. CMake's modules keep what they did not find (HDF5_IS_PARALLEL=FALSE, a
# compiler that is too old, no CUDA compiler), and a folder would refuse to build for ever after the library was installed
# or its module was loaded. Include this before project().

# What the user gave (-D, presets) is in the cache before any search, and stays.
get_cmake_property(RONDO_CACHE_BEFORE_SEARCH CACHE_VARIABLES)

# Folders that an earlier version of these files configured hold a serial HDF5 for good; it is never worth remembering.
if(DEFINED HDF5_IS_PARALLEL AND NOT HDF5_IS_PARALLEL)
  foreach(variable ${RONDO_CACHE_BEFORE_SEARCH})
    if(variable MATCHES "^HDF5_" AND NOT variable MATCHES "^HDF5_(ROOT|DIR|PREFER_PARALLEL|USE_STATIC_LIBRARIES)$")
      unset(${variable} CACHE)
    endif()
  endforeach()
endif()

# rondo_forget_search(): to be called where the configuration ends for want of something.
function(rondo_forget_search)
  get_cmake_property(variables CACHE_VARIABLES)
  list(REMOVE_ITEM variables ${RONDO_CACHE_BEFORE_SEARCH})
  foreach(variable ${variables})
    unset(${variable} CACHE)
  endforeach()
  if(NOT "CMAKE_CXX_COMPILER" IN_LIST RONDO_CACHE_BEFORE_SEARCH)
    file(REMOVE_RECURSE ${CMAKE_PLATFORM_INFO_DIR})  # where CMake keeps what it learned about the compilers
  endif()
endfunction()
