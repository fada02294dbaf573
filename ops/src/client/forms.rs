//! Forms, which OAuth takes in place of JSON.

use super::{Client, ClientError};
use reqwest::{Url, header};
use serde_json::Value;

impl Client {
    /// Posts a form once and without a credential; the JSON body whatever the status, as OAuth has failures of its own form.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Result<(u16, Value), ClientError> {
        let mut encoded = Url::parse("http://form.invalid/").map_err(|e| ClientError::Start(e.to_string()))?;
        encoded.query_pairs_mut().extend_pairs(fields);
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(encoded.query().unwrap_or_default().to_owned());
        let response = request.send().await.map_err(|e| self.lost(&e))?;
        let status = response.status().as_u16();
        Ok((status, self.read(response).await?))
    }
}
