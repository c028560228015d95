# SPDX-License-Identifier: Apache-2.0
# One object target a folder, linked along the arrows of the design, all joined in librondo.so. A folder sees only the
# headers of the layers it links: each layer exports a directory that holds one link to itself.

function(rondo_warnings target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wno-sign-conversion -Wswitch-enum -Wshadow>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)  # GCC bug 105329, std::string
  endif()
  if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)  # it takes an included .cpp for a header
  endif()
  if(RONDO_WARNINGS_ARE_ERRORS)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
endfunction()

# rondo_headers(NAME PATH): an interface target rondo_headers_NAME through which "PATH/file.hpp" can be included.
function(rondo_headers name path directory)
  set(fence ${CMAKE_BINARY_DIR}/fences/${name})
  get_filename_component(parent ${fence}/${path} DIRECTORY)
  file(MAKE_DIRECTORY ${parent})
  file(CREATE_LINK ${directory} ${fence}/${path} SYMBOLIC)
  add_library(rondo_headers_${name} INTERFACE)
  set_property(GLOBAL APPEND PROPERTY RONDO_LAYERS ${name})
  target_include_directories(rondo_headers_${name} INTERFACE ${fence})
endfunction()

# rondo_layer(NAME [GLUE] PATH path USES layer... LINKS library...): the object target rondo_NAME from the current folder.
# LINKS are private to the layer: their headers are not visible to the layers above. GLUE has others compute: it is optimised
# lightly, which takes two thirds of the time to compile.
function(rondo_layer name)
  cmake_parse_arguments(LAYER "GLUE" "PATH" "USES;LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  rondo_headers(${name} ${LAYER_PATH} ${CMAKE_CURRENT_SOURCE_DIR})
  foreach(used ${LAYER_USES})
    target_link_libraries(rondo_headers_${name} INTERFACE rondo_headers_${used})
  endforeach()
  if(NOT sources)
    return()
  endif()
  add_library(rondo_${name} OBJECT ${sources})
  target_link_libraries(rondo_${name} PRIVATE rondo_headers_${name} ${LAYER_LINKS})
  rondo_warnings(rondo_${name})
  if(LAYER_GLUE)
    target_compile_options(rondo_${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
  set_property(GLOBAL APPEND PROPERTY RONDO_OBJECTS rondo_${name})
  set_property(GLOBAL APPEND PROPERTY RONDO_LINKS ${LAYER_LINKS})
endfunction()

# Joins every layer declared so far in librondo.so.
function(rondo_finish_library)
  get_property(objects GLOBAL PROPERTY RONDO_OBJECTS)
  get_property(links GLOBAL PROPERTY RONDO_LINKS)
  list(REMOVE_DUPLICATES links)
  add_library(rondo SHARED)
  set_target_properties(rondo PROPERTIES LINKER_LANGUAGE CXX)
  foreach(object ${objects})
    target_sources(rondo PRIVATE $<TARGET_OBJECTS:${object}>)
  endforeach()
  target_link_libraries(rondo PRIVATE ${links} ${CMAKE_DL_LIBS})
endfunction()
