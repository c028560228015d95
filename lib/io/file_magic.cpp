// SPDX-License-Identifier: Apache-2.0
#include "io/file_magic.hpp"

#include <algorithm>
#include <array>

namespace rondo {

namespace {

using std::literals::string_view_literals::operator""sv;

// Each has a byte that no text begins with, or so many letters that no text begins so by chance. Where one begins as
// another does, the longer one comes first.
constexpr auto kKnownMagic = std::to_array<FileMagic>({
    {0, "\x1f\x8b"sv, "gzip again", "gzip -d"},  // the outer one is looked through before this
    {0, "\x1f\x9d"sv, "compressed with compress", "gzip -d"},
    {0, "\x1f\xa0"sv, "compressed with compress -H", "gzip -d"},
    {4, "1AY&SY"sv, "compressed with bzip2", "bzip2 -d"},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "compressed with xz", "xz -d"},
    {0, "\x28\xb5\x2f\xfd"sv, "compressed with zstd", "zstd -d"},
    {0, "\x04\x22\x4d\x18"sv, "compressed with lz4", "lz4 -d"},
    {0, "LZIP\x01"sv, "compressed with lzip", "lzip -d"},
    {0, "\x89LZO\0\r\n\x1a\n"sv, "compressed with lzop", "lzop -d"},
    {0, "PK\x03\x04"sv, "a zip archive, or an office document or e-book, which are such", "unzip"},
    {0, "PK\x05\x06"sv, "an empty zip archive", ""},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7-Zip archive", "7z x"},
    {0, "Rar!\x1a\x07"sv, "a RAR archive", "unrar x"},
    {257, "ustar\0"sv, "a tar archive", "tar -xf"},
    {257, "ustar  \0"sv, "a tar archive", "tar -xf"},
    {0, "!<arch>\n"sv, "an ar archive", "ar x"},
    {0, "%PDF-"sv, "a PDF document", "pdftotext"},
    {0, "%!PS-Adobe-"sv, "a PostScript document", "ps2ascii"},
    {0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"sv, "an office document", "libreoffice --convert-to txt"},
    {0, "{\\rtf1"sv, "a rich text document", "libreoffice --convert-to txt"},
    {0, "\xff\xfe\0\0"sv, "text in UTF-32", "iconv -f UTF-32 -t UTF-8"},
    {0, "\0\0\xfe\xff"sv, "text in UTF-32", "iconv -f UTF-32 -t UTF-8"},
    {0, "\xff\xfe"sv, "text in UTF-16", "iconv -f UTF-16 -t UTF-8"},
    {0, "\xfe\xff"sv, "text in UTF-16", "iconv -f UTF-16 -t UTF-8"},
    {0, "\x89HDF\r\n\x1a\n"sv, "an HDF5 file, as corpora of Rondo are", ""},
    {0, "PAR1\x15"sv, "a Parquet table", "parquet-tools cat --json"},
    {0, "ARROW1\0\0"sv, "an Arrow table", ""},
    {0, "Obj\x01"sv, "an Avro table", "avro-tools tojson"},
    {0, "SQLite format 3\0"sv, "an SQLite database", ""},
    {0, "\x93NUMPY"sv, "a NumPy array", ""},
    {0, "GGUF\x02"sv, "a GGUF model", ""},
    {0, "GGUF\x03"sv, "a GGUF model", ""},
    {0, "BAM\x01"sv, "BAM alignments", "samtools fasta"},
    {0, "CRAM\x02"sv, "CRAM alignments", "samtools fasta"},
    {0, "CRAM\x03"sv, "CRAM alignments", "samtools fasta"},
    {0, "BCF\x02"sv, "BCF variants", "bcftools view"},
    {0, "\x43\x27\x41\x1a"sv, "a 2bit genome", "twoBitToFa"},
    {0, "\x1a\x41\x27\x43"sv, "a 2bit genome", "twoBitToFa"},
    {0, "NCBI.sra"sv, "an SRA archive", "fasterq-dump --fasta"},
    {0, "\x89PNG\r\n\x1a\n"sv, "a PNG image", ""},
    {0, "\xff\xd8\xff"sv, "a JPEG image", ""},
    {0, "GIF87a"sv, "a GIF image", ""},
    {0, "GIF89a"sv, "a GIF image", ""},
    {0, "II*\0"sv, "a TIFF image", ""},
    {0, "MM\0*"sv, "a TIFF image", ""},
    {8, "WEBPVP8"sv, "a WebP image", ""},
    {8, "WAVEfmt "sv, "a WAV recording", ""},
    {0, "OggS\0"sv, "an Ogg recording", ""},
    {0, "fLaC\0"sv, "a FLAC recording", ""},
    {0,
     "\x7f"
     "ELF"sv,
     "an ELF program, library or object", ""},
    {0, "\0asm"sv, "a WebAssembly program", ""},
    {0, "\xca\xfe\xba\xbe"sv, "a Java class or Mach-O program", ""},
    {0, "\xcf\xfa\xed\xfe"sv, "a Mach-O program", ""},
});

}  // namespace

const FileMagic* find_file_magic(std::string_view head) {
  const auto* found = std::find_if(kKnownMagic.begin(), kKnownMagic.end(), [head](const FileMagic& magic) {
    return head.size() >= magic.offset && head.substr(magic.offset).starts_with(magic.bytes);
  });
  return found == kKnownMagic.end() ? nullptr : found;
}

}  // namespace rondo
