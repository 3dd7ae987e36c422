//! The run files of this folder, in the order in which they are listed.

use super::Preset;

/// A file of this folder.
macro_rules! file {
    ($name:literal) => {
        Preset {
            name: $name,
            text: include_str!(concat!($name, ".toml")),
        }
    };
}

/// One of Dai & Le's models on a data set, with the error that they report; its parts stand in `paper/`.
macro_rules! paper {
    ($name:tt: $way:tt, $data:literal, $on:literal, $error:literal) => {
        Preset {
            name: $name,
            text: concat!(
                "# ",
                title!($way),
                ", on ",
                $on,
                ".\n# Test error in the paper, %: ",
                $error,
                ".\n",
                include_str!("paper/about.toml"),
                "\nname = \"",
                $name,
                "\"\ndescription = \"",
                title!($way),
                ", on ",
                $on,
                ".\"\nseed = 1\n\n",
                include_str!(concat!("paper/", $data, ".toml")),
                "\n",
                include_str!("paper/model.toml"),
                "\n",
                include_str!(concat!("paper/", $way, ".toml")),
            ),
        }
    };
}

macro_rules! title {
    ("lstm") => {
        "LSTM from scratch"
    };
    ("lm-lstm") => {
        "LM-LSTM: pretrained as a language model"
    };
    ("sa-lstm") => {
        "SA-LSTM: pretrained as a sequence autoencoder"
    };
}

macro_rules! own {
    ($name:tt) => {
        paper!($name: $name, "files", "your own texts (--data FILE)", "of other texts")
    };
}

macro_rules! imdb {
    ($name:tt: $way:tt, $error:literal) => {
        paper!($name: $way, "imdb", "IMDB", $error)
    };
}

macro_rules! rt {
    ($name:tt: $way:tt, $error:literal) => {
        paper!($name: $way, "rt", "Rotten Tomatoes, by 10-fold cross-validation", $error)
    };
}

macro_rules! newsgroups {
    ($name:tt: $way:tt, $error:literal) => {
        paper!($name: $way, "20ng", "20 Newsgroups", $error)
    };
}

macro_rules! dbpedia {
    ($name:tt: $way:tt, $error:literal) => {
        paper!($name: $way, "dbpedia", "DBpedia", $error)
    };
}

pub(super) const PRESETS: &[Preset] = &[
    file!("demo"),
    own!("lstm"),
    own!("lm-lstm"),
    own!("sa-lstm"),
    imdb!("lstm-imdb": "lstm", "13.50"),
    imdb!("lm-lstm-imdb": "lm-lstm", "7.64"),
    imdb!("sa-lstm-imdb": "sa-lstm", "7.24"),
    rt!("lstm-rt": "lstm", "20.3 (their LSTM with tuning and dropout)"),
    rt!("lm-lstm-rt": "lm-lstm", "none given for this pair"),
    rt!("sa-lstm-rt": "sa-lstm", "18.6 with IMDB text for pretraining"),
    newsgroups!("lstm-20ng": "lstm", "18.0"),
    newsgroups!("lm-lstm-20ng": "lm-lstm", "15.3"),
    newsgroups!("sa-lstm-20ng": "sa-lstm", "15.6"),
    dbpedia!("lstm-dbpedia": "lstm", "13.64"),
    dbpedia!("lm-lstm-dbpedia": "lm-lstm", "1.50"),
    dbpedia!("sa-lstm-dbpedia": "sa-lstm", "2.34"),
    file!("bert-mlm"),
    file!("bert-mlm-nsp"),
    file!("gpt2"),
    file!("hashire-merosu"),
    file!("finetune"),
    file!("lora"),
    file!("mlp"),
    file!("lenet"),
    file!("image-transfer"),
    file!("sft"),
    file!("sft-full"),
    file!("dpo"),
    file!("orpo"),
    file!("kto"),
    file!("reward"),
];
