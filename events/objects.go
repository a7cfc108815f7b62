package events

// Page is one page of a list, newest first. Next and Previous are absolute URLs or null: one client
// would prefix a relative one with /v1 again.
type Page struct {
	Previous *string `json:"previous"`
	Next     *string `json:"next"`
	Results  []any   `json:"results"`
}

// Model is the JSON object of a model. run_count is a number, visibility public or private: one client
// checks them.
type Model struct {
	URL            string      `json:"url"`
	Owner          string      `json:"owner"`
	Name           string      `json:"name"`
	Description    *string     `json:"description"`
	Visibility     string      `json:"visibility"`
	GithubURL      *string     `json:"github_url"`
	PaperURL       *string     `json:"paper_url"`
	LicenseURL     *string     `json:"license_url"`
	RunCount       int64       `json:"run_count"`
	CoverImageURL  *string     `json:"cover_image_url"`
	DefaultExample *Prediction `json:"default_example"`
	LatestVersion  *Version    `json:"latest_version"`
}

// Version is the JSON object of a model's version.
type Version struct {
	ID            string `json:"id"`
	CreatedAt     Time   `json:"created_at"`
	CogVersion    string `json:"cog_version"`
	OpenAPISchema Schema `json:"openapi_schema"`
}

// CogVersion is what versions say they were built with. 0.4.0's parser wants X.Y.Z, and below 0.3.9 both
// Python clients turn arrays into generators.
const CogVersion = "0.6.1"

// File is the JSON object of an uploaded file.
type File struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	ContentType string         `json:"content_type"`
	Size        int64          `json:"size"`
	ETag        string         `json:"etag"`
	Checksums   Checksums      `json:"checksums"`
	Metadata    map[string]any `json:"metadata"` // never null
	CreatedAt   Time           `json:"created_at"`
	ExpiresAt   Time           `json:"expires_at"`
	URLs        FileURLs       `json:"urls"`
}

// Checksums are in hex.
type Checksums struct {
	SHA256 string `json:"sha256"`
	MD5    string `json:"md5"`
}

// FileURLs is where a file's metadata is.
type FileURLs struct {
	Get string `json:"get"`
}

// Account is whom a token belongs to.
type Account struct {
	Type      string  `json:"type"`
	Username  string  `json:"username"`
	Name      string  `json:"name"`
	GithubURL *string `json:"github_url"`
}

// Hardware is a kind of machine.
type Hardware struct {
	SKU  string `json:"sku"`
	Name string `json:"name"`
}

// Collection is a named list of models.
type Collection struct {
	Name        string  `json:"name"`
	Slug        string  `json:"slug"`
	Description string  `json:"description"`
	Models      []Model `json:"models,omitempty"`
}

// Upload answers POST /v1/upload/{name}. Prediction is there when the request asked for a training.
type Upload struct {
	UploadURL  string      `json:"upload_url"`
	ServingURL string      `json:"serving_url"`
	Prediction *Prediction `json:"prediction,omitempty"`
}

// Problem is the body of every error, application/problem+json (RFC 9457). Detail is a string that the
// oldest client prints alone, so it must say all.
type Problem struct {
	Title         string         `json:"title"`
	Detail        string         `json:"detail"`
	Status        int            `json:"status"`
	InvalidFields []InvalidField `json:"invalid_fields,omitempty"`
}

// InvalidField is one thing wrong with a request, in gojsonschema's words.
type InvalidField struct {
	Type        string `json:"type"`  // required, invalid_type, enum, number_gte, …
	Field       string `json:"field"` // input.seed
	Description string `json:"description"`
}
