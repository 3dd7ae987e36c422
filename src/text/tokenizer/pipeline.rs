//! The parts around a tokeniser's model: what cleans text, what cuts it in words, what frames and
//! joins tokens.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokenizers as hf;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::normalizers::{BertNormalizer, Lowercase, NFC, NFKC, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{PreTokenizedString, PreTokenizer};

use super::morphemes::Morphemes;
use super::{Family, Subword, TokenizerKind, TokenizerOptions, WORDS, internal};
use crate::Result;

/// The library's tokeniser, which may also cut text in morphemes.
pub(super) type Inner = hf::TokenizerImpl<
    hf::ModelWrapper,
    hf::NormalizerWrapper,
    Cut,
    hf::PostProcessorWrapper,
    hf::DecoderWrapper,
>;

/// What cuts text in words: one of the library's ways, or a dictionary of morphemes.
#[derive(Clone, Debug)]
pub(super) enum Cut {
    Library(hf::PreTokenizerWrapper),
    Morphemes(Morphemes),
}

impl PreTokenizer for Cut {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> hf::Result<()> {
        match self {
            Cut::Library(cut) => cut.pre_tokenize(text),
            Cut::Morphemes(cut) => cut.pre_tokenize(text),
        }
    }
}

impl Serialize for Cut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cut::Library(cut) => cut.serialize(serializer),
            Cut::Morphemes(cut) => cut.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Cut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hf::PreTokenizerWrapper::deserialize(deserializer).map(Cut::Library)
    }
}

impl<T: Into<hf::PreTokenizerWrapper>> From<T> for Cut {
    fn from(cut: T) -> Self {
        Cut::Library(cut.into())
    }
}

/// Puts a model between the parts that its kind wants.
pub(super) fn build(
    options: &TokenizerOptions,
    model: impl Into<hf::ModelWrapper>,
    morphemes: Option<Morphemes>,
) -> Result<Inner> {
    let mut inner = Inner::new(model.into());
    match options.kind {
        TokenizerKind::Word => {
            let words = SplitPattern::Regex(WORDS.into());
            let split = Split::new(words, hf::SplitDelimiterBehavior::Removed, true);
            inner
                .with_normalizer(Some(Sequence::new(vec![NFC.into(), Lowercase.into()])))
                .with_pre_tokenizer(Some(split.map_err(internal)?));
        }
        TokenizerKind::Bpe => {
            if options.family() == Family::Lstm {
                inner.with_normalizer(Some(NFC));
            }
            byte_level(&mut inner, false);
        }
        TokenizerKind::Wordpiece => wordpiece(&mut inner, options.bert_normalizer()),
        TokenizerKind::Char => {
            // Every character is a token; words only tell which of them belong together.
            inner
                .with_normalizer(Some(BertNormalizer::new(
                    true,
                    false,
                    Some(false),
                    options.lowercase,
                )))
                .with_pre_tokenizer(Some(BertPreTokenizer));
        }
        TokenizerKind::Morpheme => {
            inner
                .with_normalizer(Some(NFKC))
                .with_pre_tokenizer(morphemes.map(Cut::Morphemes))
                .with_decoder(Some(WordPieceDecoder::new("##".into(), false)));
        }
    }
    let family = options.family();
    inner.add_special_tokens(&special_tokens(family.specials()));
    if family == Family::Bert {
        frame(&mut inner, "[CLS]", "[SEP]")?;
    }
    Ok(inner)
}

/// BERT's normaliser, splitter and decoder, as transformers' `BertTokenizer` sets them.
pub(super) fn wordpiece(inner: &mut Inner, normalizer: BertNormalizer) {
    inner
        .with_normalizer(Some(normalizer))
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_decoder(Some(WordPieceDecoder::new("##".into(), true)));
}

/// The splitter and decoder of byte-level vocabularies.
pub(super) fn byte_level(inner: &mut Inner, add_prefix_space: bool) {
    inner
        .with_pre_tokenizer(Some(
            ByteLevel::default().add_prefix_space(add_prefix_space),
        ))
        .with_decoder(Some(ByteLevel::default()));
}

/// `[CLS] a [SEP]`, `[CLS] a [SEP] b [SEP]`, where the vocabulary has both.
pub(super) fn frame(inner: &mut Inner, cls: &str, sep: &str) -> Result<()> {
    let ids = [cls, sep].map(|token| inner.token_to_id(token));
    let [Some(cls_id), Some(sep_id)] = ids else {
        return Ok(());
    };
    let template = TemplateProcessing::builder()
        .try_single(format!("{cls}:0 $A:0 {sep}:0"))
        .map_err(|e| internal(e.into()))?
        .try_pair(format!("{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1"))
        .map_err(|e| internal(e.into()))?
        .special_tokens(vec![(cls.to_owned(), cls_id), (sep.to_owned(), sep_id)])
        .build()
        .map_err(|e| internal(e.to_string().into()))?;
    inner.with_post_processor(Some(template));
    Ok(())
}

/// `<s> a </s>`, `<s> a </s></s> b </s>` around byte pairs, where the vocabulary has both.
pub(super) fn double_frame(inner: &mut Inner, cls: &str, sep: &str, add_prefix_space: bool) {
    let ids = [cls, sep].map(|token| inner.token_to_id(token));
    if let [Some(cls_id), Some(sep_id)] = ids {
        let frame = RobertaProcessing::new((sep.to_owned(), sep_id), (cls.to_owned(), cls_id));
        let frame = frame.trim_offsets(true).add_prefix_space(add_prefix_space);
        inner.with_post_processor(Some(frame));
    }
}

pub(super) fn special_tokens(tokens: &[&str]) -> Vec<hf::AddedToken> {
    tokens
        .iter()
        .map(|token| hf::AddedToken::from(*token, true))
        .collect()
}

impl TokenizerOptions {
    /// The family, by default that of the kind.
    pub fn family(&self) -> Family {
        self.family.unwrap_or(match self.kind {
            TokenizerKind::Word | TokenizerKind::Bpe => Family::Lstm,
            TokenizerKind::Wordpiece | TokenizerKind::Char | TokenizerKind::Morpheme => {
                Family::Bert
            }
        })
    }

    /// Whether tokens are single characters.
    pub(super) fn characters(&self) -> bool {
        match self.kind {
            TokenizerKind::Char => true,
            TokenizerKind::Morpheme => self.subword == Subword::Character,
            _ => false,
        }
    }

    fn bert_normalizer(&self) -> BertNormalizer {
        BertNormalizer::new(
            true,
            self.tokenize_chinese_chars,
            self.strip_accents,
            self.lowercase,
        )
    }
}
