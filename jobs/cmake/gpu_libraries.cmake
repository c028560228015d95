# SPDX-License-Identifier: Apache-2.0
# cuDNN, the headers of cudnn-frontend, and NCCL: each is optional, and looked for where system packages, environment
# modules, the HPC SDK and Python's `nvidia-*` wheels put it. CMAKE_PREFIX_PATH and the hints NAME_HOME come first.
# @pre find_package(CUDAToolkit)

set(RONDO_CUDNN_FRONTEND_VERSION 1.23.0)  # jobs/setup.sh fetches this one: it was planned with cuDNN 9.19

# Folders named in environment variables that compilers and loaders read.
function(rondo_paths_in_environment result)
  set(paths "")
  foreach(variable ${ARGN})
    string(REPLACE ":" ";" entries "$ENV{${variable}}")
    list(APPEND paths ${entries})
  endforeach()
  set(${result} ${paths} PARENT_SCOPE)
endfunction()

# The folders into which the Python interpreters in reach install packages.
function(rondo_python_packages result)
  set(folders "")
  foreach(python python3 /usr/bin/python3)
    execute_process(COMMAND ${python} -c "import site, sysconfig; print(';'.join([sysconfig.get_paths()[k] for k in ('purelib', 'platlib')] + site.getsitepackages() + [site.getusersitepackages()]))"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
    if(status EQUAL 0)
      list(APPEND folders ${found})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES folders)
  set(${result} ${folders} PARENT_SCOPE)
endfunction()

rondo_paths_in_environment(rondo_header_paths CPATH CPLUS_INCLUDE_PATH C_INCLUDE_PATH)
rondo_paths_in_environment(rondo_library_paths LIBRARY_PATH LD_LIBRARY_PATH)
rondo_python_packages(rondo_python_folders)
get_filename_component(rondo_cuda_root ${CUDAToolkit_BIN_DIR} DIRECTORY)
set(rondo_sdk_roots ${rondo_cuda_root}/.. ${rondo_cuda_root}/../..)  # the HPC SDK keeps comm_libs beside cuda/<version>

# rondo_find_gpu_library(VARIABLE header library-name folder): VARIABLE_INCLUDE_DIR and VARIABLE_LIBRARY. `folder` is the
# library's own one among Python's packages and in the HPC SDK.
function(rondo_find_gpu_library variable header name soname folder)
  set(roots $ENV{${variable}_HOME} $ENV{${variable}_ROOT} $ENV{CUDA_HOME} $ENV{CUDA_PATH} ${rondo_cuda_root})
  foreach(sdk ${rondo_sdk_roots})
    list(APPEND roots ${sdk}/comm_libs/${folder})
  endforeach()
  foreach(packages ${rondo_python_folders})
    list(APPEND roots ${packages}/nvidia/${folder})
  endforeach()
  find_path(RONDO_${variable}_INCLUDE_DIR ${header} HINTS ${roots} ${CUDAToolkit_INCLUDE_DIRS} ${rondo_header_paths}
    PATH_SUFFIXES include)
  find_library(RONDO_${variable}_LIBRARY NAMES ${name} ${soname} NAMES_PER_DIR HINTS ${roots} ${CUDAToolkit_LIBRARY_DIR} ${rondo_library_paths}
    PATH_SUFFIXES lib lib64)  # wheels have only the file with a version
  mark_as_advanced(RONDO_${variable}_INCLUDE_DIR RONDO_${variable}_LIBRARY)
endfunction()

# rondo_read_version(VARIABLE file MACRO...): the numbers of these macros, joined with dots.
function(rondo_read_version variable file)
  set(numbers "")
  foreach(macro ${ARGN})
    file(STRINGS ${file} line REGEX "^#define ${macro} +[0-9]+")
    string(REGEX REPLACE "^#define ${macro} +([0-9]+).*" "\\1" number "${line}")
    list(APPEND numbers ${number})
  endforeach()
  list(JOIN numbers "." version)
  set(${variable} "${version}" PARENT_SCOPE)
endfunction()

rondo_find_gpu_library(CUDNN cudnn_version.h cudnn libcudnn.so.9 cudnn)
if(DEFINED ENV{XDG_CACHE_HOME})
  set(rondo_cache $ENV{XDG_CACHE_HOME})
else()
  set(rondo_cache $ENV{HOME}/.cache)
endif()
set(RONDO_CUDNN_FRONTEND_FOLDER ${rondo_cache}/rondo/cudnn-frontend-${RONDO_CUDNN_FRONTEND_VERSION})
find_path(RONDO_CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h
  HINTS $ENV{CUDNN_FRONTEND_HOME} ${rondo_cuda_root} ${RONDO_CUDNN_INCLUDE_DIR} ${rondo_header_paths}
    ${RONDO_CUDNN_FRONTEND_FOLDER} ${rondo_python_folders}
  PATH_SUFFIXES include)
mark_as_advanced(RONDO_CUDNN_FRONTEND_INCLUDE_DIR)
if(NOT RONDO_CUDNN_INCLUDE_DIR)
  message(STATUS "No cuDNN headers: attention uses our own kernel alone")
elseif(NOT RONDO_CUDNN_FRONTEND_INCLUDE_DIR)
  message(STATUS "No cudnn-frontend headers (jobs/setup.sh fetches them): attention uses our own kernel alone")
else()
  set(RONDO_HAS_CUDNN ON)
  rondo_read_version(RONDO_CUDNN_VERSION ${RONDO_CUDNN_INCLUDE_DIR}/cudnn_version.h CUDNN_MAJOR CUDNN_MINOR CUDNN_PATCHLEVEL)
  message(STATUS "Found cuDNN ${RONDO_CUDNN_VERSION}: ${RONDO_CUDNN_INCLUDE_DIR}, ${RONDO_CUDNN_FRONTEND_INCLUDE_DIR}")
  # The library itself is opened at run time, so that the module also loads where there is none.
  add_library(rondo_cudnn INTERFACE)
  target_include_directories(rondo_cudnn SYSTEM INTERFACE ${RONDO_CUDNN_FRONTEND_INCLUDE_DIR} ${RONDO_CUDNN_INCLUDE_DIR})
  set(rondo_cudnn_file "")
  if(RONDO_CUDNN_LIBRARY)
    set(rondo_cudnn_file ${RONDO_CUDNN_LIBRARY})
  endif()
  target_compile_definitions(rondo_cudnn INTERFACE NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
    "RONDO_CUDNN_LIBRARY=\"${rondo_cudnn_file}\"")
endif()

rondo_find_gpu_library(NCCL nccl.h nccl libnccl.so.2 nccl)
if(RONDO_NCCL_INCLUDE_DIR AND RONDO_NCCL_LIBRARY)
  set(RONDO_HAS_NCCL ON)
  rondo_read_version(RONDO_NCCL_VERSION ${RONDO_NCCL_INCLUDE_DIR}/nccl.h NCCL_MAJOR NCCL_MINOR NCCL_PATCH)
  message(STATUS "Found NCCL ${RONDO_NCCL_VERSION}: ${RONDO_NCCL_LIBRARY}")
  add_library(rondo_nccl INTERFACE)  # headers and the library's file, not linked
  target_include_directories(rondo_nccl SYSTEM INTERFACE ${RONDO_NCCL_INCLUDE_DIR})
  target_compile_definitions(rondo_nccl INTERFACE "RONDO_NCCL_LIBRARY=\"${RONDO_NCCL_LIBRARY}\"")
else()
  message(STATUS "No NCCL: key/value blocks of GPUs travel over MPI")
endif()

# rondo_use_gpu_libraries(target): RONDO_HAS_CUDNN and RONDO_HAS_NCCL are 0 or 1 in its sources.
function(rondo_use_gpu_libraries target)
  foreach(library CUDNN NCCL)
    if(RONDO_HAS_${library})
      string(TOLOWER ${library} name)
      target_link_libraries(${target} PRIVATE rondo_${name})
      target_compile_definitions(${target} PRIVATE RONDO_HAS_${library}=1)
    else()
      target_compile_definitions(${target} PRIVATE RONDO_HAS_${library}=0)
    endif()
  endforeach()
endfunction()
