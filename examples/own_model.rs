//! A model of one's own: defined, trained, saved, loaded. It learns which points of a square lie in a
//! circle.
//!
//! `cargo run --release --example own_model`

use melos::prelude::*;

struct Mlp(Linear, Linear);

impl Mlp {
    fn new(v: &Vars) -> Result<Mlp> {
        Ok(Mlp(v.linear("hidden", 2, 64)?, v.linear("output", 64, 2)?))
    }

    fn logits(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let hidden = ops::unary(tape, &self.0.forward(tape, x)?, Unary::Relu)?;
        self.1.forward(tape, &hidden)
    }
}

pub fn main() -> Result<()> {
    let points: [f32; 512] = std::array::from_fn(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
    let inside = points.chunks(2).map(|p| u32::from(p[0].hypot(p[1]) < 0.7));
    let (gpu, v) = (Gpu::open_best()?, Vars::new());
    let x = Tensor::from_slice(&gpu, [256, 2], &points)?;
    let y = Tensor::from_slice(&gpu, [256], &inside.collect::<Vec<_>>())?;
    let model = Mlp::new(&v)?;
    let mut trainer = Trainer::new(&gpu, &v, OptimizerKind::ADAM, 1)?;
    let step = trainer.record(|t| mean_cross_entropy(t, &model.logits(t, &x)?, &y))?;
    for _ in 0..300 {
        trainer.step(&step, 1e-2)?;
    }
    println!("loss {:.3}", step.loss()?);
    trainer.save("target/circle.safetensors")?;
    let loaded = load(&gpu, "target/circle.safetensors", Mlp::new)?;
    let logits = loaded.logits(&Tape::inference(&gpu), &x)?;
    println!("{:?}", &logits.to_vec::<f32>()?[..4]);
    Ok(())
}
