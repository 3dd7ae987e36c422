"""What tools/same-bits runs: a name and a command line of melos a row, in this order.

Names become folders. `train` runs twice: whole, and stopped half-way and resumed (`once`: only whole).
What any other command prints is kept in a file. +KEY=VALUE stands for --set KEY=VALUE, NAME=VALUE in
front of the command is an environment variable, <FILE its input, @OUT a folder that the row may write,
$word one of the options below.
"""

# What the later commit calls otherwise: (its text, the text of the earlier one). Rows and run files are
# written for the later commit.
RENAMED = []

OPTIONS = {
    "steps": "'+stage.*.budget={ steps = 12 }'",
    "lstm": "--scale small +tokenizer.vocabulary=150 +tokenizer.min_frequency=1 +model.embedding=8 "
            "+model.hidden=16 +model.head=6 +stage.*.batch=8 +stage.*.max_len=24 '+stage.*.budget={ steps = 12 }'",
    "bptt": "+stage.pretrain.bptt=8 +stage.pretrain.save_every=5",
    "tiny": "+tokenizer.vocabulary=200 +tokenizer.min_frequency=1 +model.hidden=16 +model.layers=2 +model.heads=2 "
            "+model.max_positions=32 +stage.*.max_len=32 +stage.*.batch=4 +stage.*.accumulate=2 "
            "'+stage.*.budget={ steps = 20 }'",
    "tune": "+stage.*.max_len=16 +stage.*.batch=8 +stage.*.lr=0.01 '+stage.*.budget={ steps = 16 }'",
    "one": "--scale small '+stage.*.budget={ steps = 1 }'",
    "two": "--scale small '+stage.*.budget={ steps = 2 }'",
    "demo": "'+data.demo={ unlabelled = 200, train = 60, validation = 20, test = 40 }'",
    "column": "+data.label_column",
}

# Left out by --quick: the whole demo, and sizes that take other kernels than the tiny ones.
LONG = """
demo               once train
bert-wide          train --preset bert-mlm --data texts.txt --scale small '+stage.*.budget={ steps = 4 }'
bert-wide-f16      once train --preset bert-mlm --data texts.txt '+stage.*.precision="f16"' $two
gpt2-wide          once train --preset gpt2 --data texts.txt $two
lora-wide          once train --preset lora --init bert-wide/pretrain/model --data reviews.csv $two
lstm-wide          once train --preset sa-lstm-imdb --data imdb.tar.gz $two
wide-image         once MELOS_KERNELS=image train --preset bert-mlm --data texts.txt $one
wide-tile          once MELOS_KERNELS=tile train --preset bert-mlm --data texts.txt $one
wide-portable      once MELOS_KERNELS=portable train --preset bert-mlm --data texts.txt $one
"""

ROWS = """
demo-cut           train $demo $steps
demo-portable      once MELOS_KERNELS=portable train $demo '+stage.*.budget={ steps = 4 }'
lstm-imdb          train --preset lstm-imdb --data imdb.tar.gz $lstm
lm-lstm-imdb       train --preset lm-lstm-imdb --data imdb.tar.gz $lstm $bptt
sa-lstm-imdb       train --preset sa-lstm-imdb --data imdb.tar.gz $lstm
lstm-rt            train --preset lstm-rt --data rt $lstm +stage.*.run_folds=2
lm-lstm-rt         train --preset lm-lstm-rt --data rt $lstm $bptt +stage.*.run_folds=2
sa-lstm-rt         train --preset sa-lstm-rt --data rt --unlabelled imdb.tar.gz texts.txt $lstm +stage.*.run_folds=2
lstm               train lstm.toml
lstm-gain          once train lstm.toml +model.linear_gain=true +model.layers=1 +model.head=12 --seed 3
lstm-two-ways      train --preset lstm-rt --data rt $lstm +stage.*.run_folds=1 +model.bidirectional=true \
                   +model.layers=2 +model.linear_gain=true '+model.word_vectors="vectors.txt"'
lstm-from-folder   once train --preset lstm-imdb --data imdb.tar.gz $lstm +model.head=0 \
                   '+stage.*.init="lm-lstm-imdb/pretrain/model"' '+tokenizer.file="lm-lstm-imdb/pretrain/model/tokenizer.json"'

bert-mlm           train --preset bert-mlm --data texts.txt $tiny
bert-mlm-on        train --preset bert-mlm --data texts.txt --init bert-mlm/pretrain/model $tune
bert-mlm-nsp       train --preset bert-mlm-nsp --data documents +data.validation=0.2 $tiny
bert-nsp-on        once train --preset bert-mlm-nsp --data documents --init bert-mlm-nsp/pretrain/model $tune \
                   +data.validation=0.2 +stage.*.checkpointing=true
gpt2               train --preset gpt2 --data texts.txt $tiny +tokenizer.vocabulary=300
gpt2-on            once train --preset gpt2 --data texts.txt --init gpt2 $tune
hashire-merosu     train --preset hashire-merosu --data novel.txt --unlabelled novels.tar.gz $tiny \
                   '+tokenizer.kind="char"' +stage.*.seeds=[1]
dictionary         tokenizer build-dictionary ipadic
merosu-morphemes   once train --preset hashire-merosu --data novel.txt --unlabelled novels.tar.gz $tiny +stage.*.seeds=[]
bert               train bert.toml
bert-portable      once MELOS_KERNELS=portable train bert.toml --seed 2
gpt2-all           train gpt2.toml

finetune           train --preset finetune --init bert-mlm --data reviews.csv $tune
finetune-gpt2      train --preset finetune --init gpt2/pretrain/model --data reviews.csv $tune
lora               train --preset lora --init bert-mlm/pretrain/model --data reviews.csv $tune
lora-gpt2          train --preset lora --init gpt2/pretrain/model --data reviews.csv $tune
lora-on            once train --preset finetune --init lora/lora/model --data reviews.csv $tune
lora-dropouts      once train --preset lora --init bert-mlm/pretrain/model --data reviews.csv $tune \
                   +model.dropout=0.2 +model.attention_dropout=0.3 +model.classifier_dropout=0.4
pairs              train --preset finetune --init bert-mlm-nsp --data pairs.csv '+data.pair_column="second"' $tune
pairs-gpt2         once train --preset finetune --init gpt2 --data pairs.csv '+data.pair_column="second"' $tune
tags               train --preset finetune --init bert-mlm --data tags.csv '$column="tags"' \
                   '+stage.*.problem="multi_label"' $tune
tags-gpt2          once train --preset lora --init gpt2/pretrain/model --data tags.csv '$column="tags"' \
                   '+stage.*.problem="multi_label"' $tune
stars              train --preset finetune --init bert-mlm --data stars.csv '$column="stars"' \
                   '+stage.*.problem="regression"' $tune
stars-f16          once train --preset finetune --init gpt2 --data stars.csv '$column="stars"' \
                   '+stage.*.problem="regression"' '+stage.*.precision="f16"' $tune
words              train --preset finetune --init bert-mlm --data words.conll '+stage.*.objective="token_classify"' $tune
words-lora         once train --preset lora --init bert-mlm/pretrain/model --data words.jsonl \
                   '+stage.*.objective="token_classify"' $tune

eval-lm            eval lm-lstm-imdb/pretrain --json --data texts.txt
eval-lstm          eval lstm/joint-lm --json --data test.csv
eval-imdb          eval lm-lstm-imdb --json --data imdb.tar.gz
eval-mlm           eval bert-mlm --json --data texts.txt
eval-nsp           eval bert-mlm-nsp --json --data documents
eval-clm           eval gpt2 --json --data texts.txt
eval-finetune      eval finetune --json --data test.csv
eval-gpt2          eval finetune-gpt2 --json --data test.csv
eval-lora          eval lora --json --data test.csv
eval-pairs         eval pairs --json --data pairs.csv --pair-column second
eval-tags          eval tags --json --data tags.csv --label-column tags
eval-stars         eval stars --json --data stars.csv --label-column stars
eval-words         eval words --json --data words.conll
predict-lstm       predict lstm-two-ways --json - <texts.txt
predict-demo       predict demo-cut 'a wonderful film'
predict-bert       predict finetune --json - <texts.txt
predict-gpt2       predict finetune-gpt2 --json - <texts.txt
predict-lora       predict lora-gpt2 --json --base gpt2/pretrain/model - <texts.txt
predict-pairs      predict pairs --json --pairs 'the film was dull	the plot was clever'
predict-tags       predict tags --json 'the film and its music'
predict-stars      predict stars --json - <texts.txt
predict-words      predict words --json 'Melos ran to Syrakus'
embed              embed bert-mlm texts.txt
embed-cls          embed finetune texts.txt --pooling cls --normalize --max-len 8 --out @OUT/vectors.npy
fill-mask          fill-mask bert-mlm --json 'the [MASK] was rather [MASK]'
fill-mask-merosu   fill-mask hashire-merosu/fixed-dynamic --json 'メロスは[MASK]した。'
fill-mask-lora     fill-mask bert/lora-mlm --json 'the [MASK] was clever'
generate           generate gpt2 'the film' --greedy --max-tokens 20
generate-drawn     generate gpt2 'the film' --seed 5 --temperature 1.3 --top-k 20 --top-p 0.9 \
                   --repetition-penalty 1.2 --max-tokens 40
generate-lora      generate gpt2-all/lora-clm 'the plot' --json --stop . --max-tokens 20

theirs-pretraining convert hf/bert_pretraining @OUT
theirs-words       convert hf/bert_token_classifier @OUT --dtype bf16
theirs-gpt2        convert hf/gpt2_classifier @OUT --prefix drop
theirs-merged      merge hf/bert_classifier hf/bert_lora @OUT
theirs-merged-gpt2 merge hf/gpt2_lm hf/gpt2_lora @OUT
inspect-theirs     inspect hf/bert_lora --base hf/bert_classifier --json
inspect-bert       inspect bert-mlm --json
inspect-gpt2       inspect gpt2 --json
inspect-lstm       inspect lm-lstm-imdb --json
inspect-lora       inspect lora --json
convert-f16        convert bert-mlm @OUT --dtype f16
convert-bf16       convert gpt2 @OUT --dtype bf16
convert-old        convert bert-mlm @OUT --legacy-names --prefix drop
convert-back       convert convert-old @OUT
convert-base       convert bert-mlm-nsp @OUT --as BertModel --prefix add
convert-shards     convert gpt2 @OUT --max-shard-size 8KB
eval-shards        eval convert-shards --json --data texts.txt
merge              merge bert-mlm lora @OUT
merge-gpt2         merge gpt2 gpt2-all/lora @OUT --dtype f16
merge-all          merge bert/mlm bert/lora-all @OUT
merge-regex        merge bert/mlm bert/lora-regex @OUT
eval-merged        eval merge --json --data test.csv
tokens-wordpiece   tokenizer train --kind wordpiece --vocabulary 200 --data texts.txt --out @OUT
tokens-bpe         tokenizer train --kind bpe --vocabulary 300 --data reviews.csv documents --out @OUT
tokens-word        tokenizer train --kind word --data imdb.tar.gz --out @OUT
tokens-char        tokenizer train --kind char --vocabulary 80 --cased --data texts.txt --out @OUT
tokens-morpheme    tokenizer train --kind morpheme --subword character --data novel.txt --sentence-end 。 --out @OUT
encode             tokenizer encode tokens-bpe --json - <texts.txt
encode-morpheme    tokenizer encode tokens-morpheme --json 'メロスは村の友を信じる。'
decode             tokenizer decode tokens-wordpiece 7 20 33 41
plan-lstm          train lstm.toml --dry-run --json
plan-bert          train bert.toml --dry-run --json
plan-gpt2          train gpt2.toml --dry-run --json
kernels            kernels export @OUT
"""
