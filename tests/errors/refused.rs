//! The check that all tests share.

/// Fails unless the result is this variant, with all these words in its message.
macro_rules! refused {
    ($result:expr, $variant:pat, $($word:expr),+) => {
        match $result {
            Ok(_) => panic!("{} was allowed", stringify!($result)),
            Err(error) => {
                assert!(matches!(error, $variant), "{error:?}");
                let text = error.to_string();
                $(assert!(text.contains($word), "'{}' is not in: {text}", $word);)+
            }
        }
    };
}
