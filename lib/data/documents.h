#pragma once

#include <cstdint>
#include <string>

/// Made-up documents, so that the two byte-level tasks can be run by who has downloaded nothing. Stand-ins for IMDB reviews and for
/// pairs of papers (AAN): scores on them say that a model reads a whole document, and nothing about language.
///
/// A document is 16 clauses of 9 to 16 pseudo-words, 700 to 1,024 bytes in lower-case letters, spaces, commas and full stops. Each
/// of the four kinds of words has letters of its own: praise b d g a, blame k p t o, plain m n r e, ironic v w z i.
/// All words of a kind in a clause agree, which is the clause's vote, 1 or -1. The 16 votes sum to 4 or to -4, ten against six: the
/// document's stance. Each quarter's sum is drawn uniformly from -4, -2, 0, 2, 4, and all four are drawn anew until the total is right: the
/// quarters differ among themselves more than the stances do, so a prefix tells little and the sum over the whole length is needed.
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

/// For Text. Words are in turn about opinion (praise or blame) and tone (plain or ironic), each with a stance of its own. Label 1: praise in
/// a plain tone or blame in an ironic one. Neither stance alone says more than that 57 % of the tones are plain, so a linear
/// model on byte counts ends below 60 %; one that multiplies both counts (a bag of bytes with a hidden layer, the mixer `none`) can know all.
/// The label is 1 for odd indices, a pure function like the text; splits take disjoint ranges of indices.
Document write_document(std::uint64_t seed, std::uint64_t index);

/// For Retrieval. Each document has one stance, written in a dialect: that of opinion (b d g a against k p t o) or that of tone (m n r e against v w z i).
/// Label 1 (odd indices): both have the same stance. In seven pairs of eight the dialects differ and no byte that carries a stance
/// occurs in both, so products and differences of byte counts know the label in one pair of eight only.
DocumentPair write_document_pair(std::uint64_t seed, std::uint64_t index);

}  // namespace lra
