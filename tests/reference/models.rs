//! The LSTM models put together from the references: embedding → LSTM → linear → cross entropy, for
//! each objective. What each computes is defined beside its PyTorch form in tools/make_fixtures.py.

use super::Float;
use super::embedding::{embedding, embedding_bwd};
use super::loss::{LinearCrossEntropy, linear_cross_entropy, linear_gain_weights, mean_weights};
use super::lstm::{LstmStack, Named, StackOutput};
use super::optim::{Optimizer, OptimizerState, clip_grad_norm};

/// Parameters: embedding.weight (V, E), lstm.weight_ih_l0 …, linear.weight (O, D·H), linear.bias (O).
#[derive(Clone, Copy, Debug)]
pub struct LstmModel {
    pub vocabulary: usize,
    pub embedding: usize,
    pub hidden: usize,
    pub layers: usize,
    pub bidirectional: bool,
    pub cell_clip: Option<f64>,
}

/// One forward and backward: the loss, each layer's output and every gradient, by name.
pub struct Step<F> {
    pub loss: F,
    pub acts: Named<F>,
    pub grads: Named<F>,
}

struct Encoded<F> {
    stack: LstmStack,
    embedded: Vec<F>,
    h0: Vec<F>,
    c0: Vec<F>,
    out: StackOutput<F>,
}

impl LstmModel {
    /// (L·D, B, H) zeros: the state before the first token.
    pub fn zero_state<F: Float>(&self, batch: usize) -> Vec<F> {
        vec![F::ZERO; self.layers * self.directions() * batch * self.hidden]
    }

    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    fn encode<F: Float>(
        &self,
        params: &Named<F>,
        ids: &[u32],
        lengths: &[u32],
        (h0, c0): (&[F], &[F]),
    ) -> Encoded<F> {
        let b = lengths.len();
        let stack = LstmStack {
            t: ids.len() / b,
            b,
            i: self.embedding,
            h: self.hidden,
            layers: self.layers,
            bidirectional: self.bidirectional,
            cell_clip: self.cell_clip,
        };
        let embedded = embedding(&params["embedding.weight"], self.embedding, ids);
        let out = stack.forward(lengths, &embedded, h0, c0, &lstm_params(params));
        Encoded {
            stack,
            embedded,
            h0: h0.to_vec(),
            c0: c0.to_vec(),
            out,
        }
    }

    /// Adds to `grads` the gradients of the embedding and the LSTM; returns those of h0 and c0.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inputs of encode, its output, three gradients"
    )]
    fn encode_bwd<F: Float>(
        &self,
        params: &Named<F>,
        ids: &[u32],
        lengths: &[u32],
        encoded: &Encoded<F>,
        dy: &[F],
        dh_n: &[F],
        dc_n: &[F],
        grads: &mut Named<F>,
    ) -> (Vec<F>, Vec<F>) {
        let Encoded {
            stack, h0, c0, out, ..
        } = encoded;
        let back = stack.backward(lengths, h0, c0, &lstm_params(params), out, dy, dh_n, dc_n);
        let table = embedding_bwd(ids, &back.dx, self.vocabulary, self.embedding);
        add(grads, "embedding.weight", table);
        for (name, grad) in back.weights {
            add(grads, &format!("lstm.{name}"), grad);
        }
        (back.dh0, back.dc0)
    }

    /// ids (T, B), lengths (B), labels (B; below 0: ignored). The last states of the top layer, forward
    /// first, → linear → mean cross entropy.
    pub fn classifier<F: Float>(
        &self,
        params: &Named<F>,
        ids: &[u32],
        lengths: &[u32],
        labels: &[i32],
    ) -> Step<F> {
        let (b, h, d) = (lengths.len(), self.hidden, self.directions());
        let zero = self.zero_state(b);
        let encoded = self.encode(params, ids, lengths, (&zero, &zero));
        let top = (self.layers - 1) * d * b * h;
        let mut last = vec![F::ZERO; b * d * h];
        let mut dh_n = zero.clone();
        let place = |row: usize, direction: usize| {
            (top + (direction * b + row) * h, (row * d + direction) * h)
        };
        for row in 0..b {
            for direction in 0..d {
                let (state, at) = place(row, direction);
                last[at..at + h].copy_from_slice(&encoded.out.h_n[state..state + h]);
            }
        }
        let head = self.head(params, &last, labels, &mean_weights(labels));
        for row in 0..b {
            for direction in 0..d {
                let (state, at) = place(row, direction);
                dh_n[state..state + h].copy_from_slice(&head.dx[at..at + h]);
            }
        }
        let mut grads = Named::new();
        let dy = vec![F::ZERO; encoded.out.y.len()];
        self.encode_bwd(
            params, ids, lengths, &encoded, &dy, &dh_n, &zero, &mut grads,
        );
        let mut step = finish(head, grads, encoded);
        step.acts.insert("last".into(), last);
        step
    }

    /// The classifier predicts after every word; weights rise linearly (`linear_gain_weights`).
    pub fn classifier_linear_gain<F: Float>(
        &self,
        params: &Named<F>,
        ids: &[u32],
        lengths: &[u32],
        labels: &[i32],
    ) -> Step<F> {
        let t = ids.len() / lengths.len();
        let weights = linear_gain_weights(t, lengths);
        self.every_time(params, ids, lengths, &labels.repeat(t), &weights, None)
    }

    /// ids and targets (T, B), targets below 0 ignored; the state (h, c), each (L·D, B, H), that the
    /// window starts from. acts has the state it ends in, h_n and c_n.
    pub fn language_model<F: Float>(
        &self,
        params: &Named<F>,
        ids: &[u32],
        lengths: &[u32],
        targets: &[i32],
        state: (&[F], &[F]),
    ) -> Step<F> {
        self.every_time(
            params,
            ids,
            lengths,
            targets,
            &mean_weights(targets),
            Some(state),
        )
    }

    fn every_time<F: Float>(
        &self,
        params: &Named<F>,
        ids: &[u32],
        lengths: &[u32],
        targets: &[i32],
        weights: &[F],
        state: Option<(&[F], &[F])>,
    ) -> Step<F> {
        let zero = self.zero_state(lengths.len());
        let encoded = self.encode(params, ids, lengths, state.unwrap_or((&zero, &zero)));
        let head = self.head(params, &encoded.out.y, targets, weights);
        let mut grads = Named::new();
        self.encode_bwd(
            params, ids, lengths, &encoded, &head.dx, &zero, &zero, &mut grads,
        );
        finish(head, grads, encoded)
    }

    /// The encoder reads ids (T, B); its last state starts the decoder, the same weights, which reads
    /// decoder_ids (T', B) and predicts decoder_targets (T', B; below 0: ignored).
    pub fn sequence_autoencoder<F: Float>(
        &self,
        params: &Named<F>,
        (ids, lengths): (&[u32], &[u32]),
        (decoder_ids, decoder_lengths): (&[u32], &[u32]),
        decoder_targets: &[i32],
    ) -> Step<F> {
        let zero = self.zero_state(lengths.len());
        let encoder = self.encode(params, ids, lengths, (&zero, &zero));
        let state = (&encoder.out.h_n[..], &encoder.out.c_n[..]);
        let decoder = self.encode(params, decoder_ids, decoder_lengths, state);
        let weights = mean_weights(decoder_targets);
        let head = self.head(params, &decoder.out.y, decoder_targets, &weights);
        let mut grads = Named::new();
        let dy = &head.dx;
        let (dh, dc) = self.encode_bwd(
            params,
            decoder_ids,
            decoder_lengths,
            &decoder,
            dy,
            &zero,
            &zero,
            &mut grads,
        );
        let dy = vec![F::ZERO; encoder.out.y.len()];
        self.encode_bwd(params, ids, lengths, &encoder, &dy, &dh, &dc, &mut grads);
        let mut step = finish(head, grads, encoder);
        let encoded = step.acts.remove("lstm");
        step.acts.extend(encoded.map(|y| ("encoder".into(), y)));
        step.acts.insert("decoder".into(), decoder.out.y);
        step
    }

    fn head<F: Float>(
        &self,
        params: &Named<F>,
        x: &[F],
        targets: &[i32],
        weights: &[F],
    ) -> LinearCrossEntropy<F> {
        let (w, bias) = (&params["linear.weight"], &params["linear.bias"]);
        linear_cross_entropy(x, w, Some(bias), targets, weights)
    }
}

fn lstm_params<F: Float>(params: &Named<F>) -> Named<F> {
    let own = |(name, value): (&String, &Vec<F>)| {
        name.strip_prefix("lstm.")
            .map(|name| (name.to_string(), value.clone()))
    };
    params.iter().filter_map(own).collect()
}

fn add<F: Float>(grads: &mut Named<F>, name: &str, grad: Vec<F>) {
    match grads.get_mut(name) {
        Some(sum) => sum.iter_mut().zip(&grad).for_each(|(sum, g)| *sum += *g),
        None => drop(grads.insert(name.to_string(), grad)),
    }
}

fn finish<F: Float>(
    head: LinearCrossEntropy<F>,
    mut grads: Named<F>,
    encoded: Encoded<F>,
) -> Step<F> {
    add(&mut grads, "linear.weight", head.dw);
    add(&mut grads, "linear.bias", head.dbias);
    let acts = [
        ("embedding", encoded.embedded),
        ("lstm", encoded.out.y),
        ("h_n", encoded.out.h_n),
        ("c_n", encoded.out.c_n),
        ("logits", head.logits),
    ];
    let acts = acts
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect();
    Step {
        loss: head.loss,
        acts,
        grads,
    }
}

pub struct Trained<F> {
    pub losses: Vec<F>,
    pub grad_norms: Vec<F>,
    pub params: Named<F>,
}

/// `steps` of Adam (PyTorch defaults) after clipping the global norm.
pub fn train<F: Float>(
    mut params: Named<F>,
    steps: usize,
    lr: f64,
    max_norm: f64,
    mut step_of: impl FnMut(usize, &Named<F>) -> Step<F>,
) -> Trained<F> {
    let adam = Optimizer::adam(lr);
    let mut states: Vec<_> = params
        .values()
        .map(|p| OptimizerState::new(p.len()))
        .collect();
    let (mut losses, mut grad_norms) = (vec![], vec![]);
    for step in 0..steps {
        let mut out = step_of(step, &params);
        assert!(
            params.keys().eq(out.grads.keys()),
            "a gradient for every parameter"
        );
        let mut grads: Vec<&mut [F]> = out.grads.values_mut().map(|g| &mut g[..]).collect();
        grad_norms.push(clip_grad_norm(&mut grads, max_norm));
        losses.push(out.loss);
        for ((p, state), grad) in params.values_mut().zip(&mut states).zip(grads) {
            adam.step(state, p, grad);
        }
    }
    Trained {
        losses,
        grad_norms,
        params,
    }
}
