#pragma once

#include <cstdint>
#include <string>

/// Generated documents, so that the two byte-level tasks can be run without downloads. They stand in for IMDB reviews
/// and for pairs of papers (AAN). Scores on them show whether a model reads a whole document. They say nothing about
/// language.
///
/// A document is 700 to 1,024 bytes: letters, spaces, commas and full stops, in clauses of pseudo-words. Each letter
/// votes 1 or -1 on one of four subjects, in one of two kinds: a to d are opinions 1 on subjects 0 to 3, e to h
/// opinions -1, i to l tones 1, m to p tones -1. All letters of a clause vote alike.
namespace lra {

struct Document {
  std::int32_t label = 0;
  std::string text;
};

struct DocumentPair {
  std::int32_t label = 0;
  std::string first;
  std::string second;
};

/// For Text. Eight clauses: an opinion on each of the four subjects, in random order, and a tone on each, in another;
/// either kind may come first, so partners stand half a document apart. Label 1: opinion and tone agree on three of the
/// four subjects; label 0: on one. A single byte only says that 57 % of the tones are 1, so a linear model on byte
/// counts stays below 60 %. The first quarter of a document holds no two partners. Attention finds a partner by its
/// subject. A bag of bytes needs a hidden layer that multiplies four pairs of counts; the mixer `none` learns that, but
/// slowly. The label is 1 for odd indices, a pure function like the text; splits take disjoint ranges of indices.
Document write_document(std::uint64_t seed, std::uint64_t index);

/// For Retrieval. One document is all opinion, the other all tone; each has 16 clauses whose votes sum to 4 or to -4,
/// its stance. Label 1 (odd indices): both have the same stance. Each quarter's sum is drawn uniformly from -4, -2, 0,
/// 2, 4, and all four are drawn anew until the total is right: the quarters differ among themselves more than the
/// stances do, so a prefix tells little. 57 % of the first documents have the stance 1, which is all that a linear
/// model on byte counts can use.
DocumentPair write_document_pair(std::uint64_t seed, std::uint64_t index);

}  // namespace lra
