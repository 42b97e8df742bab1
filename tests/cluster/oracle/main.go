// What aws-iam-authenticator's own code answers: a JSON question per line on stdin, a JSON answer per line on stdout.
//
// Three kinds of question. "verify": a token, what the cluster's server is configured with, its clock, and the answer
// that STS gives (none: STS cannot be reached). "map": an identity and back ends; the answer is the webhook's.
// "read": the rows of aws-auth. The module is used as it is: STS is played by http.DefaultTransport, which the verifier
// falls back to, the clock by testing/synctest, and what the package does not export is reached by its name.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"
	"sigs.k8s.io/aws-iam-authenticator/pkg/config"
	"sigs.k8s.io/aws-iam-authenticator/pkg/mapper"
	"sigs.k8s.io/aws-iam-authenticator/pkg/mapper/configmap"
	"sigs.k8s.io/aws-iam-authenticator/pkg/mapper/dynamicfile"
	"sigs.k8s.io/aws-iam-authenticator/pkg/metrics"
	"sigs.k8s.io/aws-iam-authenticator/pkg/server"
	"sigs.k8s.io/aws-iam-authenticator/pkg/token"
)

type question struct {
	Verify *verifyQuestion    `json:"verify"`
	Map    *mapQuestion       `json:"map"`
	Read   *map[string]string `json:"read"`
}

func main() {
	logrus.SetOutput(io.Discard)
	metrics.InitMetrics(prometheus.NewRegistry()) // the server counts what it answers
	answers := os.Stdout
	os.Stdout = os.Stderr // testing says PASS at the end; it is here for synctest alone
	all := func(string, string) (bool, error) { return true, nil }
	asking := func(t *testing.T) { answerAll(t, os.Stdin, answers) }
	testing.Main(all, []testing.InternalTest{{Name: "oracle", F: asking}}, nil, nil)
}

func answerAll(t *testing.T, questions io.Reader, answers io.Writer) {
	in := json.NewDecoder(bufio.NewReaderSize(questions, 1<<20))
	buffer := bufio.NewWriterSize(answers, 1<<20)
	out := json.NewEncoder(buffer)
	for {
		var asked question
		err := in.Decode(&asked)
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		must(out.Encode(answer(t, asked)))
	}
	must(buffer.Flush())
}

func answer(t *testing.T, asked question) any {
	switch {
	case asked.Verify != nil:
		return verify(t, *asked.Verify)
	case asked.Map != nil:
		return mapIdentity(*asked.Map)
	case asked.Read != nil:
		return read(*asked.Read)
	}
	panic("a question of no kind")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// --- a token ---

type verifyQuestion struct {
	Token     string    `json:"token"`
	ClusterID string    `json:"cluster_id"`
	Partition string    `json:"partition"`
	Region    string    `json:"region"`
	Clock     time.Time `json:"clock"`
	STSReply  *stsReply `json:"sts_reply"`
}

type stsReply struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

type verdict struct {
	Kind     string          `json:"kind"` // of the error: format, sts, sts_throttled, other; "" is none
	Error    string          `json:"error"`
	Request  *stsRequest     `json:"request"` // as far as STS
	Identity *token.Identity `json:"identity"`
}

type stsRequest struct {
	URL     string      `json:"url"`
	Headers http.Header `json:"headers"`
}

// A verifier per configuration, as a server has one for its life, with the host names it has seen.
var verifiers = map[[3]string]token.Verifier{}

func verify(t *testing.T, asked verifyQuestion) verdict {
	key := [3]string{asked.ClusterID, asked.Partition, asked.Region}
	if verifiers[key] == nil {
		verifiers[key] = token.NewVerifier(asked.ClusterID, asked.Partition, asked.Region)
	}
	sts := &playedSTS{reply: asked.STSReply}
	http.DefaultTransport = sts
	var found verdict
	synctest.Test(t, func(*testing.T) {
		time.Sleep(time.Until(asked.Clock))
		if !time.Now().Equal(asked.Clock) {
			panic("the clock of a question cannot be before the year 2000, where synctest begins")
		}
		identity, err := verifiers[key].Verify(asked.Token)
		found = verdict{Identity: identity, Kind: kind(err), Request: sts.asked}
		if err != nil {
			found.Error = err.Error()
		}
	})
	return found
}

func kind(err error) string {
	switch err.(type) {
	case nil:
		return ""
	case token.FormatError:
		return "format"
	case token.STSError:
		return "sts"
	case token.STSThrottling:
		return "sts_throttled"
	}
	return "other"
}

type playedSTS struct {
	reply *stsReply
	asked *stsRequest
}

func (sts *playedSTS) RoundTrip(request *http.Request) (*http.Response, error) {
	sts.asked = &stsRequest{URL: request.URL.String(), Headers: request.Header}
	if sts.reply == nil {
		return nil, errors.New("there is no STS here")
	}
	body := io.NopCloser(strings.NewReader(sts.reply.Body))
	return &http.Response{StatusCode: sts.reply.Status, Body: body, Request: request}, nil
}

// --- an identity ---

type mapQuestion struct {
	Identity token.Identity `json:"identity"`
	Backends []backend      `json:"backends"`
}

type backend struct {
	AwsAuth          map[string]string `json:"aws_auth"`
	DynamicFile      json.RawMessage   `json:"dynamic_file"` // with user-id strictness; read in place of aws-auth
	ReservedPrefixes []string          `json:"reserved_prefixes"`
}

type mapped struct {
	HTTPStatus int                            `json:"http_status"`
	Error      string                         `json:"error"` // as the server logs it
	User       authenticationv1beta1.UserInfo `json:"user"`
}

//go:linkname authenticate sigs.k8s.io/aws-iam-authenticator/pkg/server.(*handler).authenticateEndpoint
func authenticate(handler unsafe.Pointer, ctx context.Context, w http.ResponseWriter, request *http.Request)

//go:linkname saveMap sigs.k8s.io/aws-iam-authenticator/pkg/mapper/configmap.(*MapStore).saveMap
func saveMap(store *configmap.MapStore, users []config.UserMapping, roles []config.RoleMapping, accounts []string)

func mapIdentity(asked mapQuestion) mapped {
	mappers := []mapper.Mapper{}
	for _, each := range asked.Backends {
		mappers = append(mappers, each.mapper())
	}
	field, _ := reflect.TypeFor[server.Server]().FieldByName("internalHandler")
	handler := reflect.New(field.Type.Elem())
	set(handler.Elem().FieldByName("verifier"), known{&asked.Identity})
	set(handler.Elem().FieldByName("ec2Provider"), instanceNames{})
	set(handler.Elem().FieldByName("backendMapper").FieldByName("mappers"), mappers)

	log := &denials{}
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{logrus.WarnLevel: {log}})
	recorder := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPost, "/authenticate", bytes.NewBufferString("{}"))
	authenticate(handler.UnsafePointer(), context.Background(), recorder, request)

	var review authenticationv1beta1.TokenReview
	must(json.Unmarshal(recorder.Body.Bytes(), &review))
	return mapped{HTTPStatus: recorder.Code, Error: log.error, User: review.Status.User}
}

func set(field reflect.Value, value any) {
	reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Set(reflect.ValueOf(value))
}

func (each backend) mapper() mapper.Mapper {
	reserved := config.ReservedPrefixConfig{UsernamePrefixReserveList: each.ReservedPrefixes}
	if each.DynamicFile != nil {
		made, err := dynamicfile.NewDynamicFileMapper(config.Config{
			DynamicFileUserIDStrict: true,
			ReservedPrefixConfig:    map[string]config.ReservedPrefixConfig{mapper.ModeDynamicFile: reserved},
		})
		must(err)
		_ = made.CallBackForFileLoad(each.DynamicFile) // a file that is refused leaves the list as it was: empty
		return made
	}
	made, err := configmap.NewConfigMapMapper(config.Config{
		Master:               "https://127.0.0.1", // never asked: what a watch would bring is put in
		ReservedPrefixConfig: map[string]config.ReservedPrefixConfig{mapper.ModeEKSConfigMap: reserved},
	})
	must(err)
	users, roles, accounts, _ := configmap.ParseMap(each.AwsAuth) // startLoadConfigMap saves what was good
	saveMap(made.MapStore, users, roles, accounts)
	return made
}

// An identity that needs no token.
type known struct{ identity *token.Identity }

func (it known) Verify(string) (*token.Identity, error) { return it.identity, nil }

// EC2, which has a name for every instance.
type instanceNames struct{}

func (instanceNames) GetPrivateDNSName(_ context.Context, id string) (string, error) {
	return "ip-" + id, nil
}
func (instanceNames) StartEc2DescribeBatchProcessing(context.Context) {}

// The reason of "access denied", which no client is told.
type denials struct{ error string }

func (*denials) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

func (log *denials) Fire(entry *logrus.Entry) error {
	if entry.Message == "access denied" {
		log.error = entry.Data[logrus.ErrorKey].(error).Error()
	}
	return nil
}

// --- aws-auth ---

type rows struct {
	Roles    []row    `json:"roles"`
	Users    []row    `json:"users"`
	Accounts []string `json:"accounts"`
	Error    string   `json:"error"`
}

type row struct {
	ARN      string   `json:"arn"`
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
	SSO      string   `json:"sso"` // the pattern of a row without an ARN
}

func read(data map[string]string) rows {
	users, roles, accounts, err := configmap.ParseMap(data)
	found := rows{Accounts: accounts}
	for _, each := range roles {
		made := row{ARN: each.RoleARN, Username: each.Username, Groups: each.Groups}
		if each.SSO != nil {
			made.SSO = each.Key()
		}
		found.Roles = append(found.Roles, made)
	}
	for _, each := range users {
		found.Users = append(found.Users, row{ARN: each.UserARN, Username: each.Username, Groups: each.Groups})
	}
	if err != nil {
		found.Error = err.Error()
	}
	return found
}
