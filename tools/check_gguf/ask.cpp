// What llama.cpp makes of a GGUF file: see ../check_gguf/check.py, which compiles and runs this.
//
//     ask tokens FILE         texts from standard input, each behind its length in bytes and a line break;
//                             a line of ids for each, without BOS
//     ask special FILE        the same, special tokens in the texts as what they are
//     ask greedy FILE N [ADAPTER]   the same of prompts: N tokens more, the most probable ones; a line of ids for each
//     ask quantise TYPE ROW   f32 numbers from standard input, as blocks of ggml's type of that number

#include "ggml.h"
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

static std::vector<llama_token> tokens(const llama_vocab *vocab, const std::string &text, bool special) {
    std::vector<llama_token> ids(text.size() + 8);
    int n = llama_tokenize(vocab, text.data(), text.size(), ids.data(), ids.size(), special, true);
    ids.resize(n > 0 ? n : 0);
    return ids;
}

static void show(const std::vector<llama_token> &ids) {
    for (size_t i = 0; i < ids.size(); i++) std::printf(i ? " %d" : "%d", ids[i]);
    std::printf("\n");
}

int main(int argc, char **argv) {
    const std::string what = argc > 2 ? argv[1] : "";
    const bool only_tokens = what == "tokens" || what == "special";
    if (!only_tokens && argc != 4 && !(what == "greedy" && argc == 5)) return 2;
    if (what == "quantise") {
        const std::string in{std::istreambuf_iterator<char>(std::cin), {}};
        const auto type = static_cast<ggml_type>(std::atoi(argv[2]));
        const int64_t row = std::atoi(argv[3]), rows = in.size() / 4 / row;
        std::vector<float> numbers(rows * row);
        std::copy(in.begin(), in.begin() + numbers.size() * 4, reinterpret_cast<char *>(numbers.data()));
        std::vector<char> out(ggml_row_size(type, row) * rows);
        ggml_quantize_chunk(type, numbers.data(), out.data(), 0, rows, row, nullptr);
        std::fwrite(out.data(), 1, out.size(), stdout);
        return 0;
    }
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params options = llama_model_default_params();
    options.vocab_only = only_tokens;
    llama_model *model = llama_model_load_from_file(argv[2], options);
    if (!model) {
        std::fprintf(stderr, "llama.cpp does not open %s\n", argv[2]);
        return 1;
    }
    llama_adapter_lora *adapter = argc == 5 ? llama_adapter_lora_init(model, argv[4]) : nullptr;
    if (argc == 5 && !adapter) {
        std::fprintf(stderr, "llama.cpp does not open %s\n", argv[4]);
        return 1;
    }
    const llama_vocab *vocab = llama_model_get_vocab(model);
    std::string line;
    while (std::getline(std::cin, line)) {
        std::string text(std::strtoul(line.c_str(), nullptr, 10), '\0');
        std::cin.read(text.data(), text.size());
        if (only_tokens) {
            show(tokens(vocab, text, false));
            continue;
        }
        std::vector<llama_token> ids = tokens(vocab, text, true), all = ids;
        llama_context_params context_options = llama_context_default_params();
        context_options.n_ctx = 512;
        // Else it keeps what it has read in f16.
        context_options.type_k = context_options.type_v = GGML_TYPE_F32;
        // More threads than free cores wait for each other, busily.
        context_options.n_threads = context_options.n_threads_batch = 1;
        llama_context *context = llama_init_from_model(model, context_options);
        float scale = 1;
        if (adapter && llama_set_adapters_lora(context, &adapter, 1, &scale)) return 1;
        for (int n = std::atoi(argv[3]); n > 0; n--) {
            if (llama_decode(context, llama_batch_get_one(ids.data(), ids.size()))) return 1;
            const float *logits = llama_get_logits_ith(context, -1);
            llama_token best = 0;
            for (int id = 1; id < llama_vocab_n_tokens(vocab); id++)
                if (logits[id] > logits[best]) best = id;
            if (llama_vocab_is_eog(vocab, best)) break;
            ids = {best};
            all.push_back(best);
        }
        show(all);
        llama_free(context);
    }
    return 0;
}
